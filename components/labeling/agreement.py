"""How far labelers agree with each other, with themselves, and with the order in which replies were shown.

A ranking of K replies is K (K - 1) / 2 pairs, each with a sign: -1 where the first reply is better, 1 where the second
is, 0 where they tie. Two rankings are compared pair by pair.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from components.labeling.answers import Answer

CONFIDENCE = 1.959964  # standard normal deviates of a 95 % interval

Signs = tuple[int, ...]


class Counts(NamedTuple):
    """Pairs that two rankings order alike, of those that neither ties."""

    equal: int
    decided: int


@dataclass(frozen=True)
class FirstPlace:
    """How often the reply that was shown first was ranked alone at the top.

    Attributes:
        share: of the answers with one best reply, with its 95 % interval from `low` to `high`.
        chance: what the share would be if the order shown had no influence: the mean of 1 / K.
    """

    answers: int
    share: float
    low: float
    high: float
    chance: float

    @property
    def is_flagged(self) -> bool:
        """Whether the first is preferred, whatever it says: surely more than half way from chance to always."""
        return self.low > (1 + self.chance) / 2


def signs(ranks: Sequence[int]) -> Signs:
    """The sign of every pair of replies, (0, 1), (0, 2) and so on."""
    return tuple((one > other) - (one < other) for one, other in combinations(ranks, 2))


def compared(one: Sequence[int], other: Sequence[int]) -> Counts:
    """Two rankings of the same replies held against each other."""
    decided = [(a, b) for a, b in zip(signs(one), signs(other), strict=True) if a and b]
    return Counts(sum(a == b for a, b in decided), len(decided))


def between_workers(answers: Iterable[Answer]) -> dict[str, Counts]:
    """For each task that several workers ranked, every two of them held against each other; repetitions left out.

    Their sum is the agreement of InstructGPT's labelers (arXiv:2203.02155, section 3.4), as in `LabelerModel`.
    """
    found = {}
    for task, rankings in _by_task(answer for answer in answers if not answer.repeat).items():
        each = [compared(one.ranks, other.ranks) for one, other in combinations(rankings, 2)]
        if each:
            found[task] = Counts(sum(c.equal for c in each), sum(c.decided for c in each))
    return found


def with_themselves(answers: Iterable[Answer]) -> dict[tuple[str, str], Counts]:
    """For each worker and task that they ranked twice, the two rankings held against each other."""
    first: dict[tuple[str, str], Answer] = {}
    again: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        if answer.kind == "ranking":
            (again if answer.repeat else first)[answer.worker, answer.task] = answer
    return {key: compared(first[key].ranks, again[key].ranks) for key in first if key in again}


def alpha_of(answers: Iterable[Answer]) -> float | None:
    """Krippendorff's alpha over the pairs of all tasks, repetitions left out; None where it is not defined."""
    units: list[Signs] = []
    for rankings in _by_task(answer for answer in answers if not answer.repeat).values():
        units += zip(*(signs(answer.ranks) for answer in rankings), strict=True)
    return krippendorff_alpha(units)


def krippendorff_alpha(units: Iterable[Sequence[int]]) -> float | None:
    """Krippendorff's alpha for nominal values: 1 - observed / expected disagreement (Content Analysis, section 11.3).

    Args:
        units: the values that each unit was given, one a rater; of a single one nothing can be said, it is left out.

    Returns:
        None where no unit has two values, or all values of all units are the same.
    """
    rated = [unit for unit in units if len(unit) > 1]
    totals: dict[int, int] = {}
    observed = 0.0
    for unit in rated:
        counts = {value: unit.count(value) for value in unit}
        for value, count in counts.items():
            totals[value] = totals.get(value, 0) + count
        # Ordered pairs of unequal values within the unit, each value counted once in all.
        observed += (len(unit) ** 2 - sum(count**2 for count in counts.values())) / (len(unit) - 1)
    values = sum(totals.values())
    expected = (values**2 - sum(count**2 for count in totals.values())) / max(values - 1, 1)
    return 1 - observed / expected if expected else None


def first_place(answers: Iterable[Answer]) -> FirstPlace | None:
    """How much the order in which replies were shown decided; None where no answer has one best reply."""
    with_one_best = [answer for answer in answers if answer.kind == "ranking" and answer.ranks.count(1) == 1]
    if not with_one_best:
        return None
    hits = sum(answer.ranks[answer.shown_order[0]] == 1 for answer in with_one_best)
    chance = sum(1 / len(answer.ranks) for answer in with_one_best) / len(with_one_best)
    low, high = wilson(hits, len(with_one_best))
    return FirstPlace(len(with_one_best), hits / len(with_one_best), low, high, chance)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); count is at least 1."""
    share, square = hits / count, CONFIDENCE**2 / count
    centre = share + square / 2
    spread = CONFIDENCE * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, (centre - spread) / (1 + square)), min(1.0, (centre + spread) / (1 + square))


def _by_task(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.kind == "ranking":
            found.setdefault(answer.task, []).append(answer)
    return found
