"""Which rows and windows a training step takes."""

import time
import tracemalloc

import numpy as np
import pytest

from components.data.order import epoch_rows, epoch_windows


def epoch(num_rows, *, seed=1, number=0):
    return epoch_rows(number, batch_size=num_rows, num_rows=num_rows, seed=seed)


def test_batches_take_every_row_once_an_epoch_and_depend_on_the_step_alone():
    picks = [row for step in range(10) for row in epoch_rows(step, batch_size=3, num_rows=10, seed=1)]
    assert sorted(picks[:10]) == sorted(picks[10:20]) == sorted(picks[20:]) == list(range(10))
    assert picks[:10] != picks[10:20]
    assert epoch_rows(4, batch_size=3, num_rows=10, seed=1) == picks[12:15]
    assert epoch_rows(4, batch_size=3, num_rows=10, seed=2) != picks[12:15]


@pytest.mark.parametrize("num_rows", [*range(1, 40), 63, 64, 65, 255, 256, 257, 4097])
def test_an_epoch_is_a_permutation_whatever_the_number_of_rows(num_rows):
    for number in range(3):
        assert sorted(epoch(num_rows, number=number)) == list(range(num_rows))


def test_a_batch_may_be_larger_than_the_data():
    picks = epoch_rows(0, batch_size=11, num_rows=4, seed=0)
    assert sorted(picks[:4]) == sorted(picks[4:8]) == list(range(4)) and len(picks) == 11


def test_orders_differ_between_epochs_and_seeds():
    orders = {tuple(epoch(50, seed=seed, number=number)) for seed in range(10) for number in range(10)}
    assert len(orders) == 100


@pytest.mark.parametrize("num_rows", [3, 5, 12, 100])
def test_every_row_comes_at_every_place_equally_often(num_rows):
    """Counts of (place, row) over many epochs; the bounds are five standard deviations of a chi-square variable."""
    epochs, counts = 1500, np.zeros((num_rows, num_rows))
    for number in range(epochs):
        counts[np.arange(num_rows), epoch(num_rows, number=number)] += 1
    expected = epochs / num_rows
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = (num_rows - 1) ** 2
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom) + 5


def test_neighbours_are_not_neighbours_any_more():
    order = np.array(epoch(10_000))
    assert (np.abs(np.diff(order)) == 1).mean() < 0.001  # by chance: 2 in 10,000
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.05


def test_a_step_costs_what_its_batch_holds_however_long_the_text():
    def seconds(step):
        start = time.perf_counter()
        found = epoch_windows(range(16 * step, 16 * step + 16), num_tokens=10**11, context_length=128, seed=1)
        assert len(set(found)) == 16 and max(found) > 10**9
        return time.perf_counter() - start

    tracemalloc.start()
    best = min(seconds(step) for step in range(20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert best < 0.005
    assert peak < 1_000_000


def test_every_epoch_cuts_the_text_elsewhere_and_reads_each_window_once():
    def starts(step, batch_size=9, num_tokens=101):  # ten windows of ten would fit, one is spared for the cut
        places = range(step * batch_size, (step + 1) * batch_size)
        return epoch_windows(places, num_tokens=num_tokens, context_length=10, seed=3)

    epochs = [starts(step) for step in range(20)]
    cuts = {min(epoch) for epoch in epochs}
    assert all(sorted(epoch) == list(range(min(epoch), min(epoch) + 90, 10)) for epoch in epochs)
    assert min(cuts) >= 0 and max(cuts) <= 9 and len(cuts) > 5
    assert epochs[0] != sorted(epochs[0])
    assert [start for step in range(3) for start in starts(step, batch_size=3)] == epochs[0]
    assert starts(0, batch_size=2, num_tokens=11) == [0, 0]  # a text of one window has nothing to spare
    assert {starts(step, batch_size=1, num_tokens=13)[0] for step in range(40)} == {0, 1, 2}
