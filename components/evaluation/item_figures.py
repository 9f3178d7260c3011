"""Figures of a file of items with their intervals, and how one model differs from another on the same items."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from components.evaluation.intervals import SAMPLES, bootstrap_mean, by_cluster

Scale = Literal["share", "difference", "bits", "perplexity"]
SWAPS = 10_000  # of a permutation test
PART = 500  # resamples in memory at once


class Figure(Protocol):
    """What a figure of N items is made of: numbers of each that are added up, `parts` [N, S], and what the sums say."""

    @property
    def parts(self) -> np.ndarray: ...
    @property
    def scale(self) -> str: ...
    def value(self, sums: np.ndarray) -> np.ndarray:
        """The figure of summed parts, [..., S]."""


@dataclass(frozen=True)
class Measured:
    """What a figure of N items is made of: the sum of `totals` [N] over the sum of `weights` [N], on a scale.

    share: as it is, each total being from 0 to its weight. difference: of two shares, as it is. bits: nats over a
    unit, in bits. perplexity: exp of them.
    """

    totals: Sequence[float]
    weights: Sequence[float]
    scale: Scale = "share"

    @property
    def parts(self) -> np.ndarray:
        """Totals and weights, [N, 2]."""
        return np.stack([np.asarray(self.totals, float), np.asarray(self.weights, float)], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        """The figure of summed totals and weights, [..., 2]."""
        ratio: np.ndarray = sums[..., 0] / sums[..., 1]
        return np.exp(ratio) if self.scale == "perplexity" else ratio / math.log(2) if self.scale == "bits" else ratio


def clustered(figure: Figure, groups: Sequence[str]) -> np.ndarray:
    """The parts of a figure, those of each group added up, [G, S]."""
    return np.stack([by_cluster(column.tolist(), groups)[0] for column in figure.parts.T], axis=1)


def shares(hits: Sequence[bool]) -> Measured:
    """A figure that is the share of items of which something is true."""
    return Measured([float(hit) for hit in hits], [1.0] * len(hits))


def interval(figure: Figure, groups: Sequence[str], *, seed: int) -> dict[str, float]:
    """A figure, under the key "", and the ends of its 95 % interval, "_low" and "_high", by bootstrap over groups.

    A share's interval is that of `bootstrap_mean`, which is never empty; of a difference that never differs it is
    3 / groups on either side (the rule of three).
    """
    parts = clustered(figure, groups)
    if figure.scale == "share":
        mean, low, high = bootstrap_mean(parts[:, 0], parts[:, 1], seed=seed)
        return {"": mean, "_low": low, "_high": high}
    low, high = np.percentile(_resampled(figure, parts, seed), [2.5, 97.5])
    if low == high and figure.scale == "difference":
        low, high = low - 3 / len(parts), high + 3 / len(parts)
    return {"": float(figure.value(parts.sum(axis=0))), "_low": float(low), "_high": float(high)}


def difference(own: Figure, other: Figure, groups: Sequence[str], *, seed: int) -> dict[str, float]:
    """How far one model's figure is above another's of the same items: "", "_low", "_high", and "_p".

    Paired: a resample has the same groups for both. Where shares never differ, the interval is 3 / groups on either
    side (the rule of three). p is of the permutation test in which the models change places group by group (Noreen
    1989), two-sided, the observed outcome counted among 10,000 drawn ones (Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585): the share of outcomes whose figures differ by as much as those observed. For one item a
    group and a share it tends to the exact McNemar test.
    """
    mine, others = clustered(own, groups), clustered(other, groups)
    drawn = _resampled(own, mine, seed) - _resampled(other, others, seed)
    found = float(own.value(mine.sum(axis=0)) - own.value(others.sum(axis=0)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    if low == high and own.scale == "share":
        low, high = found - 3 / len(mine), found + 3 / len(mine)
    return {"": found, "_low": float(low), "_high": float(high), "_p": _permuted(own, mine, others, seed)}


def _resampled(figure: Figure, parts: np.ndarray, seed: int) -> np.ndarray:
    """The figure of each resample; with one seed and one number of groups always the same groups."""
    rng, values = np.random.default_rng(seed), []
    for _ in range(SAMPLES // PART):
        picks = rng.integers(0, len(parts), (PART, len(parts)))
        sums = [column[picks].sum(axis=1) for column in parts.T]
        values.append(figure.value(np.stack(sums, axis=-1)))
    return np.concatenate(values)


def _permuted(figure: Figure, own: np.ndarray, other: np.ndarray, seed: int) -> float:
    """The two-sided p of figures whose groups change places; those that are alike cannot."""
    moving = (own != other).any(axis=1)
    gaps, mine, others = (other - own)[moving], own.sum(axis=0), other.sum(axis=0)
    rng, reached = np.random.default_rng(seed), 0
    # Sums of the same numbers in another order round otherwise.
    bound = abs(float(figure.value(mine) - figure.value(others))) * (1 - 1e-9) - 1e-12
    for _ in range(SWAPS // PART):
        moved = rng.integers(0, 2, (PART, len(gaps)), dtype=np.int8).astype(float) @ gaps
        reached += int((abs(figure.value(mine + moved) - figure.value(others - moved)) >= bound).sum())
    return (1 + reached) / (1 + SWAPS)
