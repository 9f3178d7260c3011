"""Pair statistics of a reward model."""

import numpy as np
import pytest

from components.evaluation.preferences import accuracy_by, calibration, pair_figures, pair_table


def table():
    return pair_table(
        [np.array([2.0, 1.0, 3.0]), np.array([0.0, 0.5])], [(1, 2, 2), (1, 3)], [(9, 4, 9), (1, 5)], ["a", "b"]
    )


def test_pairs_are_the_untied_ones_with_their_gaps():
    pairs = table()
    assert pairs.margins.tolist() == [1.0, -1.0, -0.5]
    assert pairs.rank_gaps.tolist() == [1, 1, 2]
    assert pairs.length_gaps.tolist() == [5, 0, -4]
    assert pairs.groups.tolist() == ["a", "a", "b"]


def test_the_interval_is_over_conversations():
    """Two rankings of one conversation and one of another: two clusters, one all right and one all wrong."""
    pairs = pair_table([np.array([2.0, 1.0])] * 2 + [np.array([0.0, 1.0])] * 2, [(1, 2)] * 4, [(1, 1)] * 4, [*"aabb"])
    figures, _ = pair_figures(pairs, seed=0)
    assert (figures["pair_accuracy"], figures["conversations"], figures["pairs"]) == (0.5, 2, 4)
    assert (figures["pair_accuracy_low"], figures["pair_accuracy_high"]) == (0.0, 1.0)


def test_accuracy_by_group():
    assert accuracy_by(table()) == {
        "rank_gap": {"1": 0.5, "2": 0.0},
        "length": {"better_is_shorter": 0.0, "alike": 0.0, "better_is_longer": 1.0},
    }


def test_calibration_error_by_hand():
    # sigmoid(ln 4) = 0.8, three of four right; sigmoid(0.2) = 0.549..., one of two right
    margins = np.array([np.log(4)] * 3 + [-np.log(4), 0.2, -0.2])
    curve, error = calibration(margins)
    assert [row["pairs"] for row in curve] == [2, 4]
    assert error == pytest.approx((2 * abs(0.5 - 0.549834) + 4 * abs(0.75 - 0.8)) / 6, abs=1e-5)


def test_a_model_that_means_what_it_says_is_calibrated():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 60_000)
    margins = np.where(rng.random(60_000) < 1 / (1 + np.exp(-np.abs(true))), np.abs(true), -np.abs(true))
    assert calibration(margins)[1] < 0.01
    assert calibration(3 * margins)[1] > 0.05
