"""Best-of-n against all choices written out."""

import math
from itertools import combinations

import numpy as np
import pytest

from components.evaluation.best_of_n import best_of_n_curve, best_of_n_kl, best_of_n_mean


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_mean_over_all_choices_equals_brute_force(n):
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=(2, 6))
    expected = np.mean([values[max(chosen, key=lambda i: scores[i])] for chosen in combinations(range(6), n)])
    assert best_of_n_mean(scores, values, n) == pytest.approx(expected)


def test_divergence_of_best_of_sixteen():
    assert best_of_n_kl(16) == pytest.approx(1.8350887)
    assert best_of_n_kl(1) == 0


def test_curve_averages_prompts():
    scores = [np.array([0.0, 1.0]), np.array([3.0, 2.0])]
    gold = [np.array([5.0, 1.0]), np.array([2.0, 4.0])]
    curve = best_of_n_curve(scores, {"reward": scores, "gold": gold})
    assert curve["1"] == {"kl": 0.0, "reward_score": 1.5, "gold_score": 3.0}
    assert curve["2"] == {"kl": pytest.approx(math.log(2) - 0.5), "reward_score": 2.0, "gold_score": 1.5}
