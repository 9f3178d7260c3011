"""Results: rows with goal and verdict, as JSON, a table, a plot, and a run in MLflow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.cases import Case, Goal
from benchmarks.harness import Rates, ratio

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """A line of the report. Without a peer `ours` itself is held against the goal.

    `met` is None where there was nothing to hold against; `trouble` says what broke, `note` what to know besides.
    """

    name: str
    unit: str
    ours: float | None
    goal: str
    met: bool | None
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    trouble: str = ""
    note: str = ""
    group: str = ""


def kept(folder: Path, name: str, groups: Sequence[str]) -> list[Row]:
    """Rows of an earlier report of the machine whose groups are not among those given."""
    path = folder / f"{name}.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    return [Row(**row) for row in earlier if row["group"] not in groups]


def rows_of(case: Case, results: Sequence[Rates]) -> list[Row]:
    """A row for each goal of a case, given what our side and then the peer's sides reached."""
    ours, peers = results[0], {result.side.name: result for result in results[1:]}
    return [_row(case, goal, ours, peers) for goal in case.goals]


def _row(case: Case, goal: Goal, ours: Rates, peers: Mapping[str, Rates]) -> Row:
    wanted = f">= {goal.minimum:g} x {goal.against}"
    broken = [f"{r.side.name}: {r.trouble}" for r in (ours, *(peers[name] for name in goal.settings)) if r.trouble]
    able = [peers[name] for name in goal.settings if peers[name].rates and not peers[name].trouble]
    if ours.trouble or not able:
        return Row(case.name, case.unit, None, wanted, None, goal.against, trouble="; ".join(broken))
    best = max(able, key=lambda result: result.median)
    middle, low, high = ratio(ours, best)
    return Row(
        case.name, case.unit, ours.median, wanted, middle >= goal.minimum, f"{goal.against} ({best.side.name})",
        best.median, middle, (low, high), "; ".join(broken), f"{ours.peak_gib:.2f} against {best.peak_gib:.2f} GiB",
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """The report as a Markdown table."""
    lines = ["| what | ours | peer | ratio (spread) | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        ours = "" if row.ours is None else f"{_number(row.ours)} {row.unit}"
        theirs = row.peer if row.theirs is None else f"{row.peer}: {_number(row.theirs)}"
        ratios = ""
        if row.ratio is not None and row.spread is not None:
            ratios = f"{row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
        lines.append(f"| {row.name} | {ours} | {theirs} | {ratios} | {row.goal} | {_verdict(row)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}" if value < 10 else f"{value:.3g}"


def _verdict(row: Row) -> str:
    if row.met is None:
        return f"broken: {row.trouble.splitlines()[0][:80]}" if row.trouble else row.note or "no peer given"
    return ("met" if row.met else "**missed**") + (f"; {row.trouble.splitlines()[0][:80]}" if row.trouble else "")


def write(rows: Sequence[Row], machine: Mapping[str, Any], folder: Path, name: str) -> None:
    """`<name>.json`, `.md` and `.png` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": dict(machine), "rows": [asdict(row) for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    about = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items() if value is not None)
    (folder / f"{name}.md").write_text(f"{table(rows)}\n\n{about}\n")
    plot([row for row in rows if row.ratio is not None], folder / f"{name}.png")


def plot(rows: Sequence[Row], path: Path) -> None:
    """Ratios with their spread on a logarithmic axis, and the goals."""
    figure = Figure(figsize=(9, 1 + 0.45 * max(1, len(rows))), layout="constrained")
    axis = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        assert row.ratio is not None and row.spread is not None
        color = "tab:green" if row.met else "tab:red"
        axis.barh(place, row.ratio, color=color, alpha=0.7)
        axis.plot(row.spread, (place, place), color="black", linewidth=1)
        axis.plot(float(row.goal.split()[1]), place, "k|", markersize=16)
    names = [f"{row.name}\n{row.peer}" for row in reversed(rows)]
    axis.set_yticks(range(len(rows)), names, fontsize=7)
    axis.set_xscale("log")
    axis.axvline(1, color="gray", linewidth=0.8)
    axis.set_xlabel("ours / peer (bar), its spread (line), goal (tick)")
    figure.savefig(path, dpi=120, metadata={"Software": None})
