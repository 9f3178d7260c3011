"""The report of a lineage: figures, curves and replies side by side, as Markdown and as one HTML file."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from components.gates import Verdict

# (file, stage, columns, y label): drawn from each stage's history.csv
CURVES = (
    ("pretrain", "pretrain", ("train/loss",), "loss (nats a token)"),
    ("bits_per_byte", "pretrain", ("validation/bits_per_byte",), "validation bits per byte"),
    ("sft", "sft", ("train/loss", "validation/loss"), "loss (nats an assistant token)"),
    ("reward", "reward", ("train/pair_accuracy",), "pairs ordered rightly"),
    ("ppo_score", "ppo", ("rollout/score",), "score of a reply"),
    ("ppo_kl", "ppo", ("rollout/kl_per_reply",), "KL to SFT (nats a reply)"),
    ("ppo_ended", "ppo", ("rollout/ended_share",), "share of replies that end"),
    ("ppo_length", "ppo", ("rollout/response_tokens",), "tokens a reply"),
    ("dpo", "dpo", ("train/pair_accuracy",), "pairs ordered rightly"),
    ("feedme", "feedme", ("train/loss", "validation/loss"), "loss (nats a token of a best reply)"),
)
ALIGNED = {"ppo": "PPO", "dpo": "DPO", "feedme": "FeedME"}
MODELS = ("pretrain", "sft", *ALIGNED)
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
    *,
    curves: Mapping[str, Path],
    calibration: Path,
    samples: int,
) -> None:
    """Write report.md, report.html and plots/ below out.

    Args:
        metrics: as evaluate writes them; `referees` names those who judged, `left_out` what could not be judged.
        replies: rows with `user` and, for each of `MODELS`, `reply` and a score by each referee.
        gates: the verdict on each stage.
        curves: history.csv of each stage that trains.
        calibration: calibration.csv of the reward model.
        samples: how many rows of replies to show.
    """
    plots = out / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for name, stage, columns, label in CURVES:
        history = pd.read_csv(curves[stage])
        _curve(history, [column for column in columns if column in history], label, stage, plots / f"{name}.png")
    _calibration(pd.read_csv(calibration), plots / "calibration.png")
    first = metrics["referees"][0]
    _histogram(replies, first, plots / f"{first}.png")
    sections = [
        ("The road", headline_table(metrics)),
        ("What alignment gained and cost", alignment_table(metrics)),
        ("The models side by side", models_table(metrics)),
        ("Gates", gates_table(gates)),
        (f"Replies to held-out prompts, {REFEREES[first]} in brackets", replies_table(replies[:samples], first)),
    ]
    (out / "report.md").write_text(_markdown(sections, plots))
    (out / "report.html").write_text(_html(sections, plots))


def headline_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The figures of the stages before alignment."""
    reward = metrics["reward"]
    ceiling = f" of a ceiling of {reward['label_ceiling']:.3f}" if "label_ceiling" in reward else ""
    rows = [
        ("seed, precision, split", f"{metrics['seed']}, {metrics['precision']}, {metrics['split']}"),
        ("base model, bits per byte", f"{metrics['pretrain']['bits_per_byte']:.3f}"),
        (
            "reward model, held-out pair accuracy",
            f"{reward['pair_accuracy']:.3f} [{reward['pair_accuracy_low']:.3f}, "
            f"{reward['pair_accuracy_high']:.3f}]{ceiling}",
        ),
        ("reward model, expected calibration error", f"{reward['calibration_error']:.3f}"),
        *((f"not judged: {name}", why) for name, why in metrics["left_out"].items()),
    ]
    return pd.DataFrame(rows, columns=["figure", "value"])


def alignment_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Each way of alignment against the SFT model before every referee, one row a way."""
    rows = [
        (
            title,
            *(share_with_interval(own, f"{name}_win_rate") for name in metrics["referees"]),
            f"{own['kl']:.2f}",
            f"{own['pretrain_loss_increase']:+.2%}",
            f"{own['ended_share']:.1%}",
        )
        for title, own in ((title, metrics[name]) for name, title in ALIGNED.items())
    ]
    wins = [f"wins over SFT by {REFEREES[name]}, {metrics['prompts']} prompts" for name in metrics["referees"]]
    return pd.DataFrame(rows, columns=["", *wins, "KL to SFT, nats a reply", "loss on plain text", "replies that end"])


def share_with_interval(figures: Mapping[str, float], name: str) -> str:
    """A share and its 95 % interval, as `81.0% [77.9%, 84.1%]`."""
    return f"{figures[name]:.1%} [{figures[f'{name}_low']:.1%}, {figures[f'{name}_high']:.1%}]"


def models_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Each stage's model, one column a model."""
    known = [(key, label) for key, label in ROWS if key in metrics["sft"]]
    rows = [[label, *(f"{metrics[model][key]:.3f}" for model in MODELS)] for key, label in known]
    return pd.DataFrame(rows, columns=["", *MODELS])


def gates_table(gates: Mapping[str, Verdict]) -> pd.DataFrame:
    """Which stage's model may become champion."""
    return pd.DataFrame([(name, str(verdict)) for name, verdict in gates.items()], columns=["model", "gate"])


def replies_table(replies: Sequence[Mapping[str, Any]], referee: str) -> pd.DataFrame:
    """Replies to the same prompt, with a referee's scores; `...` where a reply was cut."""

    def cell(own: Mapping[str, Any]) -> str:
        return f"{own['reply']}{'' if own['ended'] else ' ...'} ({own[referee]:.2f})"

    rows = [[row["user"], *(cell(row[model]) for model in MODELS)] for row in replies]
    return pd.DataFrame(rows, columns=["user", *MODELS])


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


def _calibration(curve: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0.5, 1], [0.5, 1], color="grey", linewidth=0.8, label="calibrated")
    axes.plot(curve["confidence"], curve["accuracy"], marker="o", linewidth=1.2, label="reward model")
    axes.set(xlabel="confidence", ylabel="pairs ordered rightly", title="calibration on held-out pairs")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def _histogram(replies: Sequence[Mapping[str, Any]], referee: str, path: Path) -> None:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for model in MODELS:
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
