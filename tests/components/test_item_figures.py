"""Intervals of items and paired tests, against exact enumeration and scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from components.evaluation.intervals import bootstrap_mean
from components.evaluation.item_figures import Measured, difference, interval, shares

ROWS = [str(number) for number in range(400)]


def test_a_share_has_the_interval_of_the_bootstrap():
    hits = np.random.default_rng(0).random(400) < 0.3
    found = interval(shares(hits.tolist()), ROWS, seed=1)
    low, high = bootstrap_mean(hits, np.ones(400), seed=5)[1:]
    assert found[""] == pytest.approx(hits.mean())
    assert found["_low"] == pytest.approx(low, abs=0.01) and found["_high"] == pytest.approx(high, abs=0.01)


@pytest.mark.parametrize(("scale", "value"), [("bits", 9 / 6 / math.log(2)), ("perplexity", math.exp(9 / 6))])
def test_scales_by_hand(scale, value):
    found = interval(Measured([2, 3, 4], [1, 2, 3], scale), ["a", "b", "c"], seed=0)
    assert found[""] == pytest.approx(value)
    assert found["_low"] < found[""] < found["_high"]


def test_the_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(150):
        weights = rng.integers(5, 30, 120)
        nats = rng.normal(2.0, 0.4, 120) * weights
        found = interval(Measured(nats.tolist(), weights.tolist(), "perplexity"), ROWS[:120], seed=trial)
        hits += found["_low"] <= math.exp(2.0) <= found["_high"]
    assert 0.88 <= hits / 150 <= 0.99


def test_a_difference_is_paired():
    rng = np.random.default_rng(2)
    other = rng.random(400) < 0.5
    own = other | (np.arange(400) < 12)  # right wherever the other is, and in some places more
    found = difference(shares(own.tolist()), shares(other.tolist()), ROWS, seed=0)
    gained = int((own & ~other).sum())
    assert found[""] == pytest.approx(gained / 400)
    assert 0 < found["_low"] < found[""] < found["_high"] < 3 * gained / 400


@pytest.mark.parametrize(("better", "worse"), [(9, 2), (30, 14), (5, 5), (1, 0)])
def test_p_of_shares_is_that_of_the_exact_mcnemar_test(better, worse):
    own = [True] * better + [False] * worse + [True] * 20
    other = [False] * better + [True] * worse + [True] * 20
    found = difference(shares(own), shares(other), ROWS[: len(own)], seed=0)
    assert found["_p"] == pytest.approx(binomtest(better, better + worse).pvalue, abs=0.015)


def test_p_of_likelihoods_is_that_of_all_permutations():
    rng = np.random.default_rng(4)
    own, other = rng.normal(0.4, 1, 10), rng.normal(0, 1, 10)
    gaps = own - other
    sums = [abs(np.dot(signs, gaps)) for signs in itertools.product((-1, 1), repeat=10)]
    exact = np.mean([each >= abs(gaps.sum()) - 1e-9 for each in sums])
    made = [Measured(each.tolist(), [7.0] * 10, "bits") for each in (own, other)]
    assert difference(*made, ROWS[:10], seed=0)["_p"] == pytest.approx(exact, abs=0.015)


def test_groups_change_places_whole():
    own, other = [True] * 12, [False] * 12
    single = difference(shares(own), shares(other), ROWS[:12], seed=0)
    grouped = difference(shares(own), shares(other), ["a"] * 6 + ["b"] * 6, seed=0)
    assert single["_p"] < 0.01
    assert grouped["_p"] == pytest.approx(0.5, abs=0.02)  # two groups: all four outcomes, two of them as extreme


def test_models_that_agree_everywhere_differ_by_no_more_than_three_in_n():
    found = difference(shares([True, False] * 50), shares([True, False] * 50), ROWS[:100], seed=0)
    assert (found[""], found["_low"], found["_high"], found["_p"]) == (0.0, -0.03, 0.03, 1.0)
