"""The report of a lineage: figures, curves and replies side by side, as Markdown and as one HTML file."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from components.figures import Headline
from components.gates import Verdict, look_up

# What is drawn of a model's history: what its plot's name ends with, the columns that it has of these, the y label.
DRAWN = (
    ("", ("train/loss", "validation/loss"), "loss (nats a token)"),
    ("_bits_per_byte", ("validation/bits_per_byte",), "validation bits per byte"),
    ("_pairs", ("train/pair_accuracy",), "pairs ordered rightly"),
    ("_score", ("rollout/score",), "score of a reply"),
    ("_kl", ("rollout/kl_per_reply",), "KL to the start (nats a reply)"),
    ("_ended", ("rollout/ended_share",), "share of replies that end"),
    ("_length", ("rollout/response_tokens",), "tokens a reply"),
)
REFEREES = {"gold": "gold score", "judge": "judge", "typicality": "typicality"}
ROWS = (
    ("bits_per_byte", "bits per byte"),
    *((f"{name}_score", title) for name, title in REFEREES.items()),
    ("reward_score", "reward-model score"),
    ("response_tokens", "tokens a reply"),
    ("ended_share", "replies that end"),
    ("distinct_2", "distinct-2"),
)


def write_report(
    out: Path,
    metrics: Mapping[str, Any],
    replies: Sequence[Mapping[str, Any]],
    gates: Mapping[str, Verdict],
    headlines: Sequence[Headline],
    *,
    fed: Mapping[str, Sequence[str]],
    curves: Mapping[str, Path],
    calibration: Mapping[str, Path],
    samples: int,
) -> None:
    """Write report.md, report.html and plots/ below out.

    Args:
        out: the evaluating node's folder.
        metrics: as evaluate writes them; `referees` names those who judged, `left_out` what could not be judged.
        replies: rows with `user` and, for each model, `reply` and a score by each referee.
        gates: the verdict on each model.
        headlines: the figures that the lineage is known by.
        fed: the nodes that made what is measured, by input.
        curves: history.csv of each node that trains.
        calibration: calibration.csv of each reward model.
        samples: how many rows of replies to show.
    """
    plots = out / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for node, path in curves.items():
        _curves(pd.read_csv(path), node, plots)
    for node, path in calibration.items():
        _calibration(pd.read_csv(path), node, plots / f"{node}_calibration.png")
    models, referees = list(fed["models"]), metrics["referees"]
    sections = [
        ("What came of it", headline_table(metrics, headlines)),
        ("What alignment gained and cost", alignment_table(metrics, models, next(iter(fed["reference"]), ""))),
        ("The models side by side", models_table(metrics, models)),
        ("Gates", gates_table(gates)),
    ]
    if referees:
        first = referees[0]
        _histogram(replies, first, models, plots / f"{first}.png")
        title = f"Replies to held-out prompts, {REFEREES[first]} in brackets"
        sections.append((title, replies_table(replies[:samples], first, models)))
    sections = [(title, table) for title, table in sections if len(table)]
    (out / "report.md").write_text(_markdown(sections, plots))
    (out / "report.html").write_text(_html(sections, plots))


def headline_table(metrics: Mapping[str, Any], headlines: Sequence[Headline]) -> pd.DataFrame:
    """The figures that a lineage is known by, with their intervals where they have one."""
    rows = [("seed, precision, split", f"{metrics['seed']}, {metrics['precision']}, {metrics['split']}")]
    for line in headlines:
        value, low, high = (look_up(metrics, line.figure + bound) for bound in ("", "_low", "_high"))
        if value is not None:
            rows.append((line.words, f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")))
    rows += [(f"not judged: {name}", why) for name, why in metrics["left_out"].items()]
    return pd.DataFrame(rows, columns=["figure", "value"])


def alignment_table(metrics: Mapping[str, Any], models: Sequence[str], reference: str) -> pd.DataFrame:
    """Each model that was set against the reference, before every referee, one row a model."""
    wins = [f"{name}_win_rate" for name in metrics["referees"]]
    rows = [
        (
            name,
            *(share_with_interval(own, win) for win in wins),
            *(f"{own[key]:{how}}" for key, how in (("kl", ".2f"), ("pretrain_loss_increase", "+.2%")) if key in own),
        )
        for name, own in ((name, metrics[name]) for name in models)
        if wins and wins[0] in own
    ]
    titles = [
        f"wins over {reference} by {REFEREES[name]}, {metrics['prompts']} prompts" for name in metrics["referees"]
    ]
    extra = [f"KL to {reference}, nats a reply", "loss on plain text"][: len(rows[0]) - 1 - len(titles)] if rows else []
    return pd.DataFrame(rows, columns=["", *titles, *extra] if rows else None)


def share_with_interval(figures: Mapping[str, float], name: str) -> str:
    """A share and its 95 % interval, as `81.0% [77.9%, 84.1%]`."""
    return f"{figures[name]:.1%} [{figures[f'{name}_low']:.1%}, {figures[f'{name}_high']:.1%}]"


def models_table(metrics: Mapping[str, Any], models: Sequence[str]) -> pd.DataFrame:
    """Each model, one column a model; a figure that one lacks is left empty."""
    known = [(key, label) for key, label in ROWS if any(key in metrics[model] for model in models)]
    rows = [
        [label, *(f"{metrics[model][key]:.3f}" if key in metrics[model] else "" for model in models)]
        for key, label in known
    ]
    return pd.DataFrame(rows, columns=["", *models])


def gates_table(gates: Mapping[str, Verdict]) -> pd.DataFrame:
    """Which stage's model may become champion."""
    return pd.DataFrame([(name, str(verdict)) for name, verdict in gates.items()], columns=["model", "gate"])


def replies_table(replies: Sequence[Mapping[str, Any]], referee: str, models: Sequence[str]) -> pd.DataFrame:
    """Replies to the same prompt, with a referee's scores; `...` where a reply was cut."""

    def cell(own: Mapping[str, Any]) -> str:
        return f"{own['reply']}{'' if own['ended'] else ' ...'} ({own[referee]:.2f})"

    rows = [[row["user"], *(cell(row[model]) for model in models)] for row in replies]
    return pd.DataFrame(rows, columns=["user", *models])


def _curves(history: pd.DataFrame, node: str, plots: Path) -> None:
    for suffix, names, label in DRAWN:
        columns = [column for column in names if column in history]
        if columns:
            _curve(history, columns, label, node, plots / f"{node}{suffix}.png")


def _curve(history: pd.DataFrame, columns: Sequence[str], label: str, title: str, path: Path) -> None:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for column in columns:
        points = history[["step", column]].dropna()
        axes.plot(points["step"], points[column], label=column, linewidth=1.2)
    axes.set(xlabel="step", ylabel=label, title=title)
    if len(columns) > 1:
        axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def _calibration(curve: pd.DataFrame, node: str, path: Path) -> None:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0.5, 1], [0.5, 1], color="grey", linewidth=0.8, label="calibrated")
    axes.plot(curve["confidence"], curve["accuracy"], marker="o", linewidth=1.2, label=node)
    axes.set(xlabel="confidence", ylabel="pairs ordered rightly", title=f"{node}, calibration on held-out pairs")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def _histogram(replies: Sequence[Mapping[str, Any]], referee: str, models: Sequence[str], path: Path) -> None:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for model in models:
        axes.hist([row[model][referee] for row in replies], bins=24, alpha=0.5, label=model)
    axes.set(xlabel=f"{REFEREES[referee]} of a reply", ylabel="prompts", title=f"{REFEREES[referee]} by model")
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # Without the version and date in the file, equal figures are equal bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _markdown(sections: Sequence[tuple[str, pd.DataFrame]], plots: Path) -> str:
    parts = ["# Report of a lineage\n"]
    for title, table in sections:
        parts.append(f"## {title}\n\n{_markdown_table(table)}\n")
    parts.append(
        "## Curves\n\n" + "\n".join(f"![{p.stem}](plots/{p.name})" for p in sorted(plots.glob("*.png"))) + "\n"
    )
    return "\n".join(parts)


def _markdown_table(table: pd.DataFrame) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(list(table.columns)), line(["---"] * len(table.columns)), *map(line, table.values.tolist())])


def _html(sections: Sequence[tuple[str, pd.DataFrame]], plots: Path) -> str:
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}"
        "td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}"
        "th{background:#f4f4f4}img{max-width:32%;min-width:18rem}"
    )
    body = "".join(f"<h2>{html.escape(title)}</h2>{table.to_html(index=False, border=0)}" for title, table in sections)
    images = "".join(
        f'<img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for path in sorted(plots.glob("*.png"))
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>Report of a lineage</title><style>{style}</style>"
        f"<h1>Report of a lineage</h1>{body}<h2>Curves</h2>{images}\n"
    )
