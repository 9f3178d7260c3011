"""Versions rated by votes on pairs of their replies: Elo as votes came in, Bradley-Terry by likelihood, with intervals.

Ratings are on Elo's scale: 400 points are odds of ten to one, 1000 is the middle. A tie, and two bad replies, are half
a win for either.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MIDDLE, SCALE = 1000.0, 400.0 / math.log(10)  # a rating is MIDDLE + SCALE * log-odds
ELO_STEP = 4.0  # Chatbot Arena's K: later votes do not outweigh earlier ones
# A tie with an average version is added for each version, so that one that has won everything has a finite rating.
PRIOR = 1.0
RESAMPLES, CONFIDENCE = 200, 0.95
_NEWTON_STEPS, _CONVERGED = 50, 1e-10


class Battle(NamedTuple):
    """Two versions, and what the first one got: 1 for a win, 0 for a loss, 0.5 otherwise."""

    first: str
    second: str
    score: float


@dataclass(frozen=True)
class Rating:
    """A version's standing; `low` and `high` are the ends of its 95 % interval over votes."""

    model: str
    battles: int
    wins: int
    losses: int
    elo: float
    elo_low: float
    elo_high: float
    rating: float
    low: float
    high: float


def ratings(battles: Sequence[Battle], *, seed: int = 0, resamples: int = RESAMPLES) -> list[Rating]:
    """Every version that took part, the best first; intervals by the bootstrap over battles (percentiles)."""
    if not battles:
        return []
    models, first, second, scores = _indexed(battles)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(battles), size=(resamples, len(battles)))
    tail = 50 * (1 - CONFIDENCE)
    likely, chess = [], []
    for rows in drawn:
        likely.append(bradley_terry(first[rows], second[rows], scores[rows], len(models)))
        chess.append(elo(first[rows], second[rows], scores[rows], len(models)))
    low, high = np.percentile(likely, [tail, 100 - tail], axis=0)
    elo_low, elo_high = np.percentile(chess, [tail, 100 - tail], axis=0)
    point = bradley_terry(first, second, scores, len(models))
    chess_point = elo(first, second, scores, len(models))
    found = []
    for place, model in enumerate(models):
        own = np.concatenate([scores[first == place], 1 - scores[second == place]])
        found.append(Rating(
            model, len(own), int((own == 1).sum()), int((own == 0).sum()),
            *(float(each[place]) for each in (chess_point, elo_low, elo_high, point, low, high)),
        ))  # fmt: skip
    return sorted(found, key=lambda each: (-each.rating, each.model))


def _indexed(battles: Sequence[Battle]) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    models = sorted({name for battle in battles for name in (battle.first, battle.second)})
    place = {model: number for number, model in enumerate(models)}
    first, second = (np.array([place[name] for name in side]) for side in list(zip(*battles, strict=True))[:2])
    return models, first, second, np.array([battle.score for battle in battles])


def elo(first: np.ndarray, second: np.ndarray, scores: np.ndarray, models: int) -> np.ndarray:
    """Elo's ratings after battles in this order.

    Args:
        first: places of the first versions.
        second: places of the second ones.
        scores: what the first ones got.
        models: how many versions there are.
    """
    ratings = [MIDDLE] * models
    for one, other, score in zip(first.tolist(), second.tolist(), scores.tolist(), strict=True):
        step = ELO_STEP * (score - 1 / (1 + math.exp((ratings[other] - ratings[one]) / SCALE)))
        ratings[one] += step
        ratings[other] -= step
    return np.array(ratings)


def bradley_terry(first: np.ndarray, second: np.ndarray, scores: np.ndarray, models: int) -> np.ndarray:
    """Ratings that make the scores likeliest (Bradley and Terry 1952), by Newton's method; arguments as of `elo`.

    P(first wins) = 1 / (1 + exp(second - first)); the prior is `PRIOR` ties of each version with one at 0.
    """
    won = np.zeros((models, models))
    np.add.at(won, (first, second), scores)
    np.add.at(won, (second, first), 1 - scores)
    played, strength = won + won.T, np.zeros(models)
    for _ in range(_NEWTON_STEPS):
        chance = _logistic(strength[:, None] - strength[None, :])
        alone = _logistic(strength)
        gradient = (won - played * chance).sum(1) + PRIOR * (0.5 - alone)
        weight = played * chance * (1 - chance)
        hessian = np.diag(weight.sum(1) + PRIOR * alone * (1 - alone)) - weight
        step = np.linalg.solve(hessian, gradient)
        # A full step from far away can overshoot; a log-odds of 2 at a time cannot do harm.
        strength = strength + np.clip(step, -2, 2)
        if np.abs(step).max() < _CONVERGED:
            break
    return MIDDLE + SCALE * strength


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))
