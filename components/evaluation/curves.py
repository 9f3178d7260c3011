"""Curves that evaluations draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw_shots(own: Mapping[str, Mapping[str, Any]], shots: Sequence[int], measure: str, path: Path) -> None:
    """A measure by the number of examples, a line a model, with 95 % intervals.

    own: of each model the figures under `shots_<K>`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    places = sorted(shots)
    for name, found in own.items():
        rows = [found[f"shots_{k}"] for k in places]
        middle = [row[measure] for row in rows]
        below = [max(0.0, row[measure] - row[f"{measure}_low"]) for row in rows]
        above = [max(0.0, row[f"{measure}_high"] - row[measure]) for row in rows]
        axes.errorbar(range(len(places)), middle, yerr=[below, above], marker="o", capsize=3, label=name)
    axes.set(xlabel="examples shown", ylabel=measure.replace("_", " "), xticks=range(len(places)))
    axes.set_xticklabels([str(k) for k in places])
    axes.legend()
    figure.savefig(path, dpi=120)
