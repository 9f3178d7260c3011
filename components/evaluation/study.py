"""Studies: figures of variants and seeds as a table with intervals, and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
ALIGNMENT = (
    "gold_score", "typicality_score", "reward_score", "kl", "gold_win_rate", "typicality_win_rate",
    "pretrain_loss_increase", "ended_share", "distinct_2",
)  # fmt: skip
REWARD = ("train_sample.pair_accuracy", "validation.pair_accuracy", "validation.calibration_error")
LINEAGE = (
    "pretrain.bits_per_byte", "sft.validation_loss_ratio", "sft.ended_share", "reward.pair_accuracy",
    "reward.share_of_ceiling", "reward.calibration_error",
    *(f"{model}.{name}" for model in ("ppo", "dpo", "feedme") for name in
      ("gold_win_rate", "typicality_win_rate", "kl", "pretrain_loss_increase", "ended_share")),
)  # fmt: skip
FIGURES = {
    "seeds": LINEAGE,
    "controls": LINEAGE,
    "sizes": ("validation.bits_per_byte",),
    "rates": ("validation.bits_per_byte",),
    "frontier": tuple(f"ppo.{name}" for name in ALIGNMENT),
    "methods": ALIGNMENT,
    "pretraining-mix": tuple(f"ppo.{name}" for name in ALIGNMENT),
    "pairs": REWARD,
    "comparisons": REWARD,
    "rounds": (
        *(f"reward.{name}" for name in ("pair_accuracy", "share_of_ceiling", "calibration_error")),
        *(f"ppo.{name}" for name in ALIGNMENT),
    ),
}
# What the two panels of a plot show; the frontier has a plot of its own.
PLOTTED = {
    "seeds": ("ppo.gold_win_rate", "ppo.typicality_win_rate"),
    "controls": ("ppo.gold_win_rate", "reward.pair_accuracy"),
    "sizes": ("validation.bits_per_byte",),
    "rates": ("validation.bits_per_byte",),
    "methods": ("gold_score", "kl"),
    "pretraining-mix": ("ppo.pretrain_loss_increase", "ppo.gold_score"),
    "pairs": ("train_sample.pair_accuracy", "validation.pair_accuracy"),
    "comparisons": ("validation.pair_accuracy", "validation.calibration_error"),
    "rounds": ("reward.pair_accuracy", "ppo.gold_win_rate"),
}


def write_study(name: str, rows: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Write summary.csv, summary.md and plot.png; the summary as text.

    Args:
        name: a key of `FIGURES`.
        rows: `variant`, `seed` and `figures`, a stage's nested metrics.
        out: an existing folder.
    """
    told = {"methods": by_method, "rounds": by_stage}
    table = summary(told[name](rows) if name in told else rows, FIGURES[name])
    table.to_csv(out / "summary.csv", index=False)
    text = table.to_string(index=False, float_format=lambda value: f"{value:.4f}") + gates_passed(rows)
    (out / "summary.md").write_text(f"# Study: {name}\n\n```\n{text}\n```\n")
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    if name == "frontier":
        _frontier(figure, table, rows)
    else:
        _panels(figure, table, PLOTTED[name])
    figure.savefig(out / "plot.png", dpi=120, metadata={"Software": None})
    return text


def gates_passed(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often each stage's gate was passed, a line a variant; nothing where no gate was asked."""
    lines = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        found = [row["figures"]["gates"] for row in rows if row["variant"] == variant and "gates" in row["figures"]]
        if found and found[0]:
            counts = ", ".join(f"{gate} {sum(own[gate] for own in found)} of {len(found)}" for gate in found[0])
            lines.append(f"gates passed, {variant}: {counts}")
    return "".join(f"\n{line}" for line in lines)


def by_method(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of lineages, whose `ppo` differs, as one row a method: with them come DPO, FeedME and best of n.

    Best of n is on the held-out comparisons' prompts, the others on those of evaluate; the seeds do not touch it.
    """
    found = [{"variant": row["variant"], "seed": row["seed"], "figures": row["figures"]["ppo"]} for row in rows]
    for row in rows:
        if row["variant"] == rows[0]["variant"]:  # what the other variants have too
            others = {name: row["figures"][name] for name in ("dpo", "feedme")}
            found += [{"variant": name, "seed": row["seed"], "figures": own} for name, own in others.items()]
    n, best = max(rows[0]["figures"]["best_of_n"].items(), key=lambda item: int(item[0]))
    return [*found, {"variant": f"best of {n}", "seed": rows[0]["seed"], "figures": best}]


def by_stage(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of nodes that each judge another reward model and policy, with figures by the stage: `ppo-2` is `ppo`."""
    return [
        {**row, "figures": {name.partition("-")[0]: found for name, found in row["figures"].items()}} for row in rows
    ]


def summary(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    """One row a variant and figure that it has: mean over seeds and half its 95 % interval's width (Student's t)."""
    result = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        for name in names:
            found = [_look_up(row["figures"], name) for row in rows if row["variant"] == variant]
            if None in found:
                continue
            values = np.array(found, float)
            result.append(
                {"variant": variant, "figure": name, "mean": values.mean(), "plus_minus": half_width(values),
                 "seeds": len(values)}
            )  # fmt: skip
    return pd.DataFrame(result)


def half_width(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean of a few values; NaN for one."""
    if len(values) < 2:
        return float("nan")
    point = STUDENT[len(values) - 2] if len(values) - 2 < len(STUDENT) else 1.96
    return float(point * values.std(ddof=1) / np.sqrt(len(values)))


def _look_up(figures: Mapping[str, Any], dotted: str) -> float | None:
    node: Any = figures
    for key in dotted.split("."):
        if key not in node:
            return None
        node = node[key]
    return float(node)


def _frontier(figure: Figure, table: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> None:
    """Both referees and the proxy reward against the square root of KL (arXiv:2204.05862, section 4.3;
    arXiv:2210.10760): where they part, the policy is over-optimised.
    """
    best = rows[0]["figures"]["best_of_n"].values()
    scores = ("gold_score", "typicality_score", "reward_score")
    axes = figure.subplots(1, len(scores))
    for axis, score in zip(axes, scores, strict=True):
        wide = table.pivot(index="variant", columns="figure", values=["mean", "plus_minus"])
        wide = wide.reindex(table["variant"].unique())
        kl = np.sqrt(wide["mean"]["ppo.kl"].clip(lower=0))
        axis.errorbar(kl, wide["mean"][f"ppo.{score}"], yerr=wide["plus_minus"][f"ppo.{score}"], fmt="o-", label="PPO")
        for place, (variant, x) in enumerate(kl.items()):
            side = "right" if x > kl.max() / 2 else "left"  # so that a long name stays within the panel
            name = f"{variant} ".replace(", ", ",\n")
            axis.annotate(name, (x, wide["mean"][f"ppo.{score}"].iloc[place]), fontsize=8, ha=side, va="top")
        axis.plot([np.sqrt(b["kl"]) for b in best], [b[score] for b in best], "s--", label="best of n")
        axis.set(xlabel="sqrt(KL to SFT), nats a reply", ylabel=score.replace("_", " "))
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)


def _panels(figure: Figure, table: pd.DataFrame, names: Sequence[str]) -> None:
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        part = table[table["figure"] == name]
        axis.errorbar(part["variant"], part["mean"], yerr=part["plus_minus"], fmt="o", capsize=4)
        axis.set(title=name)
        axis.grid(alpha=0.3)
        axis.tick_params(axis="x", rotation=20)
