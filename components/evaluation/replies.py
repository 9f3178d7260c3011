"""Figures of a set of replies: how they read, how far they are from the SFT model, who wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from components.evaluation.intervals import Interval, bootstrap_mean, by_cluster


class Sampled(Protocol):
    """A reply as it was sampled: its ids, and whether it ended by itself."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def ended(self) -> bool: ...


@dataclass(frozen=True)
class ReplySet:
    """One model's replies to the evaluation prompts, in the prompts' order, and their scores by who gave them."""

    replies: Sequence[Sampled]
    texts: list[str]
    scores: dict[str, list[float]]

    def figures(self) -> dict[str, float]:
        """Means over the replies; distinct-2 is over all of them together."""
        return {
            **{f"{name}_score": float(np.mean(scores)) for name, scores in self.scores.items()},
            "response_tokens": float(np.mean([len(reply.ids) for reply in self.replies])),
            "ended_share": float(np.mean([reply.ended for reply in self.replies])),
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
