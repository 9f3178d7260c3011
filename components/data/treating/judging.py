"""What a treatment took, beside what it should have taken."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

BINS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of Jaccard similarity


def judge(
    steps: Sequence[str], truth: Path, taken: Path, alike: float, sought: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Figures of steps, in their order; `sought` names what each kind of step is for, and others are left out.

    A document counts for a step that it has reached; a copy, where what it is a copy of has reached the step, too. A
    piece of a document counts as the document.
    """
    known = pd.read_json(truth, lines=True, dtype={"id": str, "of": str, "fate": str})
    parts = [pd.read_json(path, lines=True, dtype={"id": str}) for path in sorted(taken.glob("*.jsonl"))]
    took = pd.concat([pd.DataFrame(columns=["id", "step", "why"]), *parts]).astype(str)
    whole = took["id"].str.replace(r"-\d+$", "", regex=True)
    took["id"] = took["id"].where(took["id"].isin(known["id"]), whole)
    figures, gone = {}, set(took.loc[took["step"] == "read", "id"])
    for step in steps:
        own, kind = took[took["step"] == step], step.partition("_")[2]
        if kind in sought:
            reached = known[~known["id"].isin(gone) & ~known["of"].isin(gone)]
            figures[step] = judged(reached, set(own["id"]), sought[kind], alike)
        gone |= set(own.loc[~own["why"].str.endswith("cut"), "id"])
    return figures


def judged(reached: pd.DataFrame, taken: set[str], sought: tuple[str, ...], alike: float) -> dict[str, Any]:
    """Precision and recall of a step; of near copies also the share found by similarity."""
    found = reached["id"].isin(taken)
    wanted = reached["fate"].isin(sought) & (reached["jaccard"] >= alike)
    figures: dict[str, Any] = {
        "precision": _share((found & reached["fate"].isin(sought)).sum(), found.sum()),
        "recall": _share((found & wanted).sum(), wanted.sum()),
        "good_taken": _share((found & (reached["fate"] == "good")).sum(), (reached["fate"] == "good").sum()),
    }
    near = reached[reached["fate"] == "near copy"]
    if "near copy" in sought and len(near):
        names = [f"found_{low}_to_{high}" for low, high in pairwise(BINS)]
        bins = pd.cut(near["jaccard"], BINS, labels=names, include_lowest=True)
        for name, own in near.groupby(bins, observed=True):
            figures[str(name)] = float(own["id"].isin(taken).mean())
    return figures


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
