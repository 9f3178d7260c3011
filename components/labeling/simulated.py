"""A simulated labeler: the gold score plus noise, as loud as two people's disagreement."""

import math
from dataclasses import dataclass

import numpy as np

AGREEMENT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LabelerModel:
    """Noise of a labeler who ranks by gold score + Normal(0, noise) and ties what is closer than tie_margin."""

    noise: float
    tie_margin: float

    def prefer(self, differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For gold differences of pairs, P(prefers the first) and P(prefers the second); the rest are ties."""
        spread = self.noise * math.sqrt(2)
        return _normal_cdf((differences - self.tie_margin) / spread), _normal_cdf(
            (-differences - self.tie_margin) / spread
        )

    def agreement(self, differences: np.ndarray) -> float:
        """Expected share of pairs on which two such labelers agree, among those that neither ties."""
        first, second = self.prefer(differences)
        return float((first**2 + second**2).sum() / ((first + second) ** 2).sum())

    def ceiling(self, differences: np.ndarray) -> float:
        """Expected accuracy of the gold score itself on this labeler's untied pairs: no model can do better."""
        first, second = self.prefer(differences)
        return float(np.maximum(first, second).sum() / (first + second).sum())

    def rank(self, gold: np.ndarray, generator: np.random.Generator) -> list[int]:
        """Ranks of replies, 1 is best, by noisy score; what is within the margin of a rank's best ties with it."""
        noisy = gold + generator.normal(0, self.noise, len(gold))
        order = np.argsort(-noisy, kind="stable")
        ranks = [0] * len(gold)
        rank, leader = 0, math.inf
        for place, index in enumerate(order, start=1):
            if leader - noisy[index] > self.tie_margin or rank == 0:
                rank, leader = place, float(noisy[index])
            ranks[index] = rank
        return ranks


def calibrate(gold: list[np.ndarray], *, agreement: float, tie_margin: float) -> LabelerModel:
    """The labeler whose expected agreement with another one like it is as asked, by bisection on its noise.

    Args:
        gold: gold scores of the replies to each prompt.
        agreement: share of pairs, in (0.5, 1); InstructGPT's labelers agreed on 72.6 % (arXiv:2203.02155, section 3.4).

    Raises:
        ValueError: no noise gives this agreement, as when all replies score alike.
    """
    differences = pair_differences(gold)
    if not differences.any():
        raise ValueError("all replies have the same gold score: there is nothing to rank")
    low, high = 1e-4, 1e4
    while high / low > 1 + AGREEMENT_TOLERANCE:
        middle = math.sqrt(low * high)
        if LabelerModel(middle, tie_margin).agreement(differences) > agreement:
            low = middle
        else:
            high = middle
    return LabelerModel(math.sqrt(low * high), tie_margin)


def pair_differences(gold: list[np.ndarray]) -> np.ndarray:
    """Gold differences of all pairs of replies to the same prompt."""
    return np.concatenate([(scores[:, None] - scores[None, :])[np.triu_indices(len(scores), 1)] for scores in gold])


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)))(z)
