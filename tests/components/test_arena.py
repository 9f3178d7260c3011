"""Ratings of versions, judged by an independent optimiser, by simulation and by hand."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from components.labeling.arena import PRIOR, SCALE, Battle, bradley_terry, elo, ratings


def fought(strengths, count, seed, ties=0.2):
    """Battles of versions with known strengths (log-odds)."""
    generator, names = np.random.default_rng(seed), list(strengths)
    battles = []
    for _ in range(count):
        first, second = generator.choice(len(names), 2, replace=False)
        chance = expit(strengths[names[first]] - strengths[names[second]])
        score = 0.5 if generator.random() < ties else float(generator.random() < chance)
        battles.append(Battle(names[first], names[second], score))
    return battles


def likeliest(battles, names):
    """The same model's ratings by scipy, from the likelihood of single battles."""
    first, second = (np.array([names.index(each[side]) for each in battles]) for side in (0, 1))
    scores = np.array([each.score for each in battles])

    def loss(theta):
        margin = theta[first] - theta[second]
        told = scores * log_expit(margin) + (1 - scores) * log_expit(-margin)
        return -told.sum() - PRIOR * 0.5 * (log_expit(theta) + log_expit(-theta)).sum()

    return minimize(loss, np.zeros(len(names)), method="BFGS", jac="3-point", options={"gtol": 1e-8}).x


@pytest.mark.parametrize("seed", range(4))
def test_bradley_terry_is_the_likeliest(seed):
    names = ["base", "sft", "ppo", "dpo"]
    battles = fought(dict(zip(names, (-1.5, 0.0, 0.4, 1.1), strict=True)), 300, seed)
    found = {each.model: (each.rating - 1000) / SCALE for each in ratings(battles, resamples=2)}
    assert [found[name] for name in names] == pytest.approx(likeliest(battles, names), abs=1e-6)


def test_who_wins_everything_has_a_finite_rating_as_scipy_says():
    battles = [Battle("ppo", "base", 1.0)] * 50
    expected = likeliest(battles, ["ppo", "base"])
    first, second = np.zeros(50, int), np.ones(50, int)
    found = (bradley_terry(first, second, np.ones(50), 2) - 1000) / SCALE
    assert found == pytest.approx(expected, abs=1e-5) and found[0] == pytest.approx(-found[1])


def test_two_versions_differ_by_their_log_odds_once_there_are_many_votes():
    battles = [Battle("a", "b", 1.0)] * 9000 + [Battle("b", "a", 1.0)] * 900
    best, worst = ratings(battles, resamples=2)
    assert best.rating - worst.rating == pytest.approx(400, abs=1)  # ten to one


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = {"a": -0.5, "b": 0.0, "c": 0.5}
    held = []
    for seed in range(20):
        found = {each.model: each for each in ratings(fought(truth, 200, seed, ties=0.0), seed=seed, resamples=60)}
        centre = np.mean([each.rating for each in found.values()])
        held += [found[m].low <= centre + SCALE * s <= found[m].high for m, s in truth.items()]
    assert 0.85 <= np.mean(held) <= 1.0


def test_elo_is_the_hand_computed_sum():
    first, second = np.array([0, 0]), np.array([1, 1])
    once = elo(first[:1], second[:1], np.array([1.0]), 2)
    assert once == pytest.approx([1002, 998])  # K = 4, expected 0.5
    expected = 1 / (1 + 10 ** ((998 - 1002) / 400))
    assert elo(first, second, np.array([1.0, 0.0]), 2) == pytest.approx([1002 - 4 * expected, 998 + 4 * expected])


def test_counts_and_order():
    battles = [Battle("a", "b", 1.0), Battle("b", "a", 0.5), Battle("a", "b", 1.0), Battle("c", "a", 0.0)]
    found = ratings(battles)
    assert (found[0].model, found[0].battles, found[0].wins, found[0].losses) == ("a", 4, 3, 0)
    assert all(each.low <= each.rating <= each.high and each.elo_low <= each.elo <= each.elo_high for each in found)
    assert ratings(battles) == found and ratings([]) == []
