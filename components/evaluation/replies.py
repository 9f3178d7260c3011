"""Figures of a set of replies: how they read, how far they are from the SFT model, who wins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluation.intervals import Interval, bootstrap_mean, by_cluster


@dataclass(frozen=True)
class ReplySet:
    """One model's replies to the evaluation prompts, in the prompts' order."""

    texts: list[str]
    num_tokens: list[int]
    ended: list[bool]
    gold: list[float]
    reward: list[float]

    def figures(self) -> dict[str, float]:
        """Means over the replies; distinct-2 is over all of them together."""
        return {
            "gold_score": float(np.mean(self.gold)),
            "reward_score": float(np.mean(self.reward)),
            "response_tokens": float(np.mean(self.num_tokens)),
            "ended_share": float(np.mean(self.ended)),
            "distinct_2": distinct_n(self.texts, 2),
        }


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words as a share of all (Li et al. 2016, arXiv:1510.03055)."""
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def win_rate(
    challenger: Sequence[float], baseline: Sequence[float], conversations: Sequence[str], *, seed: int
) -> Interval:
    """Share of prompts on which the challenger scores higher, a tie counting half.

    Paired by prompt; the interval resamples conversations, since prompts of one conversation are alike.
    """
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(challenger, baseline, strict=True)]
    return bootstrap_mean(*by_cluster(wins, conversations), seed=seed)
