"""Agreement of labelers: hand-counted, judged by `krippendorff` and `scipy`, and the figures of chat.md's labeler."""

import random

import krippendorff
import numpy as np
import pytest
from scipy.stats import binomtest

from components.labeling.agreement import (
    Counts,
    alpha_of,
    between_workers,
    compared,
    first_place,
    krippendorff_alpha,
    signs,
    wilson,
    with_themselves,
)
from components.labeling.simulated import calibrate
from tests.components.labels import make_answer


def test_pairs_are_counted_by_hand():
    assert signs((1, 2, 2)) == (-1, -1, 0) and signs((3, 1)) == (1,)
    # pairs (0,1) (0,2) (1,2): the first ranking says <, <, tie; the second >, <, <. Decided by both: two, alike: one
    assert compared((1, 2, 2), (2, 1, 3)) == Counts(1, 2)
    assert compared((1, 1, 1), (1, 2, 3)) == Counts(0, 0)


def test_workers_are_compared_where_they_ranked_the_same_task():
    answers = [
        make_answer("a", "t", worker="ann", ranks=(1, 2)),
        make_answer("b", "t", worker="bob", ranks=(2, 1)),
        make_answer("c", "t", worker="cat", ranks=(1, 2)),
        make_answer("d", "t", worker="ann", ranks=(2, 1), repeat=True),  # of herself, not of others
        make_answer("e", "alone", worker="ann", ranks=(1, 2)),
        make_answer("f", "t", worker="dan", kind="skip"),
    ]
    assert between_workers(answers) == {"t": Counts(1, 3)}  # ann and cat
    assert with_themselves(answers) == {("ann", "t"): Counts(0, 1)}


@pytest.mark.parametrize("seed", range(6))
def test_alpha_is_what_the_krippendorff_package_finds(seed):
    rng = random.Random(seed)
    units = [[rng.choice((-1, 0, 1, 1)) for _ in range(rng.choice((1, 2, 2, 3, 5)))] for _ in range(60)]
    table = np.full((5, len(units)), np.nan)
    for column, unit in enumerate(units):
        table[: len(unit), column] = unit
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal", value_domain=[-1, 0, 1])
    assert krippendorff_alpha(units) == pytest.approx(expected, abs=1e-12)


def test_alpha_by_hand():
    # Four units of two: three alike. Values: four of 1, four of -1. Observed 2 of 8, expected 2*4*4 / 7 of 8.
    assert krippendorff_alpha([(1, 1), (1, 1), (-1, -1), (1, -1)]) == pytest.approx(1 - 2 / (2 * 5 * 3 / 7))
    assert krippendorff_alpha([(1, 1), (-1, -1)]) == 1.0
    assert krippendorff_alpha([(1,), (0,)]) is None and krippendorff_alpha([(1, 1)]) is None


@pytest.mark.parametrize("replies", [2, 4, 8])
def test_the_labeler_who_agrees_with_another_on_73_percent_has_an_alpha_of_0385(replies):
    rng = np.random.default_rng(replies)
    # A spread at which params.yaml's margin ties one pair in twenty; the alpha of such a labeler moves with that.
    golds = [rng.normal(0, 0.45, size=replies) for _ in range(12_000 // replies)]
    model = calibrate(golds, agreement=0.73, tie_margin=0.05)
    order = tuple(range(replies))
    answers = [
        make_answer(f"{worker}{number}", f"t{number}", worker=worker, ranks=tuple(model.rank(gold, rng)), order=order)
        for number, gold in enumerate(golds)
        for worker in ("ann", "bob")
    ]
    counts = between_workers(answers).values()
    assert sum(c.equal for c in counts) / sum(c.decided for c in counts) == pytest.approx(0.73, abs=0.02)
    assert alpha_of(answers) == pytest.approx(0.385, abs=0.03)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (250, 1000)])
def test_the_interval_is_scipys(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def ranked_by(choose, count, replies=4, seed=0):
    """Answers of a labeler who puts one reply at the top, by the order in which it was shown."""
    rng = random.Random(seed)
    for number in range(count):
        order = tuple(rng.sample(range(replies), replies))
        best = choose(order, rng)
        ranks = tuple(1 if place == best else 2 for place in range(replies))
        yield make_answer(f"a{number}", f"t{number}", ranks=ranks, order=order)


def test_who_always_picks_the_first_is_flagged_and_who_looks_is_not():
    always = first_place(ranked_by(lambda order, _: order[0], 12))
    assert (always.share, always.chance, always.is_flagged) == (1.0, 0.25, True)
    looks = first_place(ranked_by(lambda order, _: 2, 400))
    assert looks.low < 0.25 < looks.high and not looks.is_flagged
    mostly = first_place(ranked_by(lambda order, rng: order[0] if rng.random() < 0.8 else 1, 200))
    assert mostly.low > mostly.chance and mostly.is_flagged
    leans = first_place(ranked_by(lambda order, rng: order[0] if rng.random() < 0.2 else 1, 300))
    assert leans.low > leans.chance and not leans.is_flagged  # shown by the figure, no reason to throw away answers
    assert not first_place(ranked_by(lambda order, _: order[0], 3)).is_flagged  # three are chance


def test_answers_without_one_best_reply_say_nothing_of_places():
    tied = make_answer("a", "t", ranks=(1, 1, 2, 2))
    assert first_place([tied, make_answer("b", "t", kind="skip")]) is None
    assert first_place([tied, make_answer("c", "t", ranks=(2, 1), order=(1, 0))]).answers == 1
