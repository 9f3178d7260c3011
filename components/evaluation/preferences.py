"""How well scores order replies that a labeler ranked: accuracy, by what, and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluation.intervals import bootstrap_mean, by_cluster

BINS = 10


@dataclass(frozen=True)
class PairTable:
    """All untied pairs of a set of rankings, one row each.

    margins: score of the better reply less that of the worse. rank_gaps: difference of their ranks. length_gaps: words
    of the better reply less those of the worse. groups: what a pair varies together with, its conversation.
    """

    margins: np.ndarray
    rank_gaps: np.ndarray
    length_gaps: np.ndarray
    groups: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether the better reply scores higher."""
        return self.margins > 0


def pair_table(
    scores: Sequence[np.ndarray],
    ranks: Sequence[Sequence[int]],
    lengths: Sequence[Sequence[int]],
    groups: Sequence[str],
) -> PairTable:
    """The pairs of each prompt's replies: scores [K], ranks (1 is best, equal ranks make no pair), lengths in words."""
    rows = [
        (own[w] - own[l], rank[l] - rank[w], length[w] - length[l], number)
        for number, (own, rank, length) in enumerate(zip(scores, ranks, lengths, strict=True))
        for w in range(len(rank))
        for l in range(len(rank))  # noqa: E741 (winner and loser)
        if rank[w] < rank[l]
    ]
    margins, rank_gaps, length_gaps, number = np.array(rows, float).reshape(-1, 4).T
    return PairTable(margins, rank_gaps, length_gaps, np.array(groups, object)[number.astype(int)])


def pair_figures(table: PairTable, *, seed: int) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Accuracy with its interval over conversations, by what, and calibration; and the calibration curve."""
    interval = bootstrap_mean(*by_cluster(table.correct.astype(float).tolist(), table.groups.tolist()), seed=seed)
    curve, error = calibration(table.margins)
    figures = {
        "pair_accuracy": interval.mean,
        "pair_accuracy_low": interval.low,
        "pair_accuracy_high": interval.high,
        "pairs": len(table.margins),
        "conversations": len(set(table.groups)),
        "calibration_error": error,
        **{f"pair_accuracy_by_{kind}": groups for kind, groups in accuracy_by(table).items()},
    }
    return figures, curve


def calibration(margins: np.ndarray) -> tuple[list[dict[str, float]], float]:
    """The calibration curve of P(better) = sigmoid(score difference), and its expected error.

    A pair's confidence is the larger of p and 1 - p. The error is the mean over pairs of |accuracy - mean confidence|
    of their bin, of equally wide bins over [0.5, 1] (Guo et al. 2017, arXiv:1706.04599, equation 3).

    Returns:
        One row a bin that has pairs: confidence, accuracy, pairs.
    """
    confidence = 1 / (1 + np.exp(-np.abs(margins)))
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    curve = [
        {
            "confidence": float(confidence[place == number].mean()),
            "accuracy": float((margins[place == number] > 0).mean()),
            "pairs": int((place == number).sum()),
        }
        for number in range(BINS)
        if (place == number).any()
    ]
    error = sum(row["pairs"] * abs(row["accuracy"] - row["confidence"]) for row in curve) / max(1, len(margins))
    return curve, float(error)


def accuracy_by(table: PairTable) -> dict[str, dict[str, float]]:
    """Accuracy of groups of pairs: by how far the ranks are apart, and by which reply is longer, in words."""
    groups = {
        "rank_gap": {
            "1": table.rank_gaps == 1, "2": table.rank_gaps == 2, "3_or_more": table.rank_gaps >= 3,
        },
        "length": {
            "better_is_shorter": table.length_gaps <= -3,
            "alike": np.abs(table.length_gaps) < 3,
            "better_is_longer": table.length_gaps >= 3,
        },
    }  # fmt: skip
    return {
        kind: {name: float(table.correct[rows].mean()) for name, rows in named.items() if rows.any()}
        for kind, named in groups.items()
    }
