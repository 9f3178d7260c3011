"""Figures of a file of items with their intervals, and how one model differs from another on the same items."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.evaluation.intervals import SAMPLES, bootstrap_mean, by_cluster

Scale = Literal["share", "difference", "bits", "perplexity"]
SWAPS = 10_000  # of a permutation test
PART = 500  # resamples in memory at once


@dataclass(frozen=True)
class Measured:
    """What a figure of N items is made of: the sum of `totals` [N] over the sum of `weights` [N], on a scale.

    share: as it is, each total being from 0 to its weight. difference: of two shares, as it is. bits: nats over a
    unit, in bits. perplexity: exp of them.
    """

    totals: Sequence[float]
    weights: Sequence[float]
    scale: Scale = "share"

    def on_scale(self, ratio: np.ndarray) -> np.ndarray:
        """Ratios of totals and weights as values of the figure."""
        return np.exp(ratio) if self.scale == "perplexity" else ratio / math.log(2) if self.scale == "bits" else ratio

    def clustered(self, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Totals and weights of each group."""
        return by_cluster(self.totals, groups)[0], by_cluster(self.weights, groups)[0]


def shares(hits: Sequence[bool]) -> Measured:
    """A figure that is the share of items of which something is true."""
    return Measured([float(hit) for hit in hits], [1.0] * len(hits))


def interval(measured: Measured, groups: Sequence[str], *, seed: int) -> dict[str, float]:
    """A figure, under the key "", and the ends of its 95 % interval, "_low" and "_high", by bootstrap over groups.

    A share's interval is that of `bootstrap_mean`, which is never empty; of a difference that never differs it is
    3 / groups on either side (the rule of three).
    """
    totals, weights = measured.clustered(groups)
    if measured.scale == "share":
        mean, low, high = bootstrap_mean(totals, weights, seed=seed)
        return {"": mean, "_low": low, "_high": high}
    values = measured.on_scale(_resampled(totals, weights, seed))
    low, high = np.percentile(values, [2.5, 97.5])
    if low == high and measured.scale == "difference":
        low, high = low - 3 / len(totals), high + 3 / len(totals)
    return {"": float(measured.on_scale(totals.sum() / weights.sum())), "_low": float(low), "_high": float(high)}


def difference(own: Measured, other: Measured, groups: Sequence[str], *, seed: int) -> dict[str, float]:
    """How far one model's figure is above another's of the same items: "", "_low", "_high", and "_p".

    Paired: a resample has the same groups for both. Where shares never differ, the interval is 3 / groups on either
    side (the rule of three). p is of the permutation test in which the models change places group by group (Noreen
    1989), two-sided, the observed outcome counted among 10,000 drawn ones (Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585): the share of outcomes whose totals differ by as much as those observed. For one item a
    group and a share it tends to the exact McNemar test.
    """
    (totals, weights), (other_totals, other_weights) = own.clustered(groups), other.clustered(groups)
    drawn = own.on_scale(_resampled(totals, weights, seed)) - other.on_scale(
        _resampled(other_totals, other_weights, seed)
    )
    found = float(own.on_scale(totals.sum() / weights.sum()) - other.on_scale(other_totals.sum() / other_weights.sum()))
    low, high = np.percentile(drawn, [2.5, 97.5])
    if low == high and own.scale == "share":
        low, high = found - 3 / len(totals), found + 3 / len(totals)
    return {"": found, "_low": float(low), "_high": float(high), "_p": _permuted(totals - other_totals, seed)}


def _resampled(totals: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """The ratio in each resample; with one seed and one number of groups always the same groups."""
    rng, ratios = np.random.default_rng(seed), []
    for _ in range(SAMPLES // PART):
        picks = rng.integers(0, len(totals), (PART, len(totals)))
        ratios.append(totals[picks].sum(axis=1) / weights[picks].sum(axis=1))
    return np.concatenate(ratios)


def _permuted(differences: np.ndarray, seed: int) -> float:
    """The two-sided p of sums of differences whose signs are drawn."""
    moving = differences[differences != 0]
    rng, reached = np.random.default_rng(seed), 0
    # Sums of the same numbers in another order round otherwise.
    bound = abs(moving.sum()) * (1 - 1e-9) - 1e-12
    for _ in range(SWAPS // PART):
        signs = rng.integers(0, 2, (PART, len(moving)), dtype=np.int8)
        reached += int((np.abs((2.0 * signs - 1) @ moving) >= bound).sum())
    return (1 + reached) / (1 + SWAPS)
