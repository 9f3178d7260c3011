"""Confidence intervals by the bootstrap over clusters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SAMPLES = 4000


class Interval(NamedTuple):
    """A mean and its 95 % percentile interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    totals: Sequence[float] | np.ndarray, counts: Sequence[float] | np.ndarray, *, seed: int
) -> Interval:
    """A share, sum(totals) / sum(counts), with its interval, resampling whole clusters (Efron 1979).

    A cluster is what varies together: the pairs of one prompt, the prompts of one conversation. Where every resample
    is the same, as when there is one cluster or all agree, the bootstrap knows no width: the interval is then 3 / n
    wide on either side, n being the number of clusters (the rule of three, Hanley and Lippman-Hand 1983).

    Args:
        totals: sum of the quantity in each cluster, at most its count.
        counts: number of items in each cluster.

    Raises:
        ValueError: there is no item at all.
    """
    totals, counts = np.asarray(totals, float), np.asarray(counts, float)
    if not counts.sum():
        raise ValueError("nothing to average")
    picks = np.random.default_rng(seed).integers(0, len(totals), (SAMPLES, len(totals)))
    means = totals[picks].sum(axis=1) / np.maximum(counts[picks].sum(axis=1), 1)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = float(totals.sum() / counts.sum())
    if low == high:
        low, high = max(0.0, mean - 3 / len(totals)), min(1.0, mean + 3 / len(totals))
    return Interval(mean, float(low), float(high))


def by_cluster(values: Sequence[float], clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Totals and counts of values that share a cluster's name."""
    names = sorted(set(clusters))
    place = {name: index for index, name in enumerate(names)}
    totals, counts = np.zeros(len(names)), np.zeros(len(names))
    for value, name in zip(values, clusters, strict=True):
        totals[place[name]] += value
        counts[place[name]] += 1
    return totals, counts
