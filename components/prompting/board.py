"""The matrix as a person reads it: a table and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

EXPLAINED = """A difference is from the first technique, on the same questions, with the 95 % interval of paired
resamples over questions. Costs are a question's: calls of the model, tokens that it reads, tokens that it writes.
Unanswered: nothing in the reply looks like an answer. Cut: calls whose prompt was longer than the context and lost its
beginning.
"""


def write_board(out: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Write report.md and plots/matrix.png below a folder.

    rows: as components/prompting/matrix.py makes them, a row a cell.
    """
    lines = [f"# {title}", "", EXPLAINED]
    places = list(dict.fromkeys((row["model"], row["data"]) for row in rows))
    for model, data in places:
        own = [row for row in rows if (row["model"], row["data"]) == (model, data)]
        lines += [f"## {model}, {data}: {own[0]['questions']} questions", "", *_table(own), ""]
    out.joinpath("report.md").write_text("\n".join(lines))
    _plot(rows, places, out / "plots" / "matrix.png")


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| technique | right (95 % interval) | difference | unanswered | calls | read | written | cut |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        right = f"{row['accuracy']:.1%} ({row['accuracy_low']:.1%} to {row['accuracy_high']:.1%})"
        gap = ""
        if "accuracy_difference" in row:
            low, high = row["accuracy_difference_low"], row["accuracy_difference_high"]
            gap = f"{100 * row['accuracy_difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        cost = f"{row['calls']:.1f} | {row['prompt_tokens']:.0f} | {row['reply_tokens']:.0f}"
        lines.append(f"| {row['technique']} | {right} | {gap} | {row['unanswered']:.0%} | {cost} | {row['cut']:.0%} |")
    return lines


def _plot(rows: Sequence[dict[str, Any]], places: Sequence[tuple[str, str]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(row["technique"] for row in rows))
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(names) * len(places)), layout="constrained")
    for number, (axes, place) in enumerate(zip(figure.subplots(len(places), squeeze=False)[:, 0], places, strict=True)):
        own = [row for row in rows if (row["model"], row["data"]) == place]
        middle = [row["accuracy"] for row in own]
        below = [max(0.0, row["accuracy"] - row["accuracy_low"]) for row in own]
        above = [max(0.0, row["accuracy_high"] - row["accuracy"]) for row in own]
        axes.errorbar(middle, range(len(own)), xerr=[below, above], fmt="o", capsize=3)
        axes.set(yticks=range(len(own)), yticklabels=[row["technique"] for row in own], xlim=(-0.02, 1.02))
        axes.set(title=", ".join(place), xlabel="right" if number == len(places) - 1 else "")
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)
