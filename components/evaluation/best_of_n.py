"""Best-of-n sampling: what picking the best-scored of n replies gains, and how far from the sampler it goes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n sampling to the sampler in nats: log n - (n - 1) / n (Stiennon et al. 2020, arXiv:2009.01325)."""
    return math.log(n) - (n - 1) / n


def best_of_n_mean(scores: np.ndarray, values: np.ndarray, n: int) -> float:
    """Mean value of the best-scored of n replies, over all C(K, n) choices of n of K, without drawing any.

    The reply of rank i from the bottom (from 1) is the best of C(i - 1, n - 1) choices (arXiv:2009.01325, appendix;
    the unbiased estimator of WebGPT, arXiv:2112.09332, appendix I).

    Args:
        scores: by which the best is picked, [K]; equal scores are taken in their order.
        values: what is averaged, [K].
        n: at most K.
    """
    order = np.argsort(scores, kind="stable")
    weights = np.array([math.comb(place, n - 1) for place in range(len(scores))], float)
    return float((weights * values[order]).sum() / math.comb(len(scores), n))


def best_of_n_curve(
    scores: Sequence[np.ndarray], values: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, dict[str, float]]:
    """For n = 1, 2, 4, ... up to K: KL, and the mean of every value of the best-scored of n, over prompts.

    Args:
        scores: by which the best is picked, [K] for each prompt.
        values: by name, what is averaged, [K] for each prompt; `<name>_score` in the result.
    """
    smallest = min(len(own) for own in scores)
    return {
        str(n): {"kl": best_of_n_kl(n)}
        | {
            f"{name}_score": float(np.mean([best_of_n_mean(s, v, n) for s, v in zip(scores, found, strict=True)]))
            for name, found in values.items()
        }
        for n in (2**power for power in range(int(math.log2(smallest)) + 1))
    }
