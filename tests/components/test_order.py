"""Which rows and windows a training step takes."""

from components.data.order import epoch_rows, epoch_windows


def test_batches_take_every_row_once_an_epoch_and_depend_on_the_step_alone():
    picks = [row for step in range(10) for row in epoch_rows(step, batch_size=3, num_rows=10, seed=1)]
    assert sorted(picks[:10]) == sorted(picks[10:20]) == sorted(picks[20:]) == list(range(10))
    assert picks[:10] != picks[10:20]
    assert epoch_rows(4, batch_size=3, num_rows=10, seed=1) == picks[12:15]
    assert epoch_rows(4, batch_size=3, num_rows=10, seed=2) != picks[12:15]


def test_every_epoch_cuts_the_text_elsewhere_and_reads_each_window_once():
    def starts(step, batch_size=9, num_tokens=101):  # ten windows of ten would fit, one is spared for the cut
        return epoch_windows(step, batch_size=batch_size, num_tokens=num_tokens, context_length=10, seed=3)

    epochs = [starts(step) for step in range(20)]
    cuts = {min(epoch) for epoch in epochs}
    assert all(sorted(epoch) == list(range(min(epoch), min(epoch) + 90, 10)) for epoch in epochs)
    assert min(cuts) >= 0 and max(cuts) <= 9 and len(cuts) > 5
    assert epochs[0] != sorted(epochs[0])
    assert [start for step in range(3) for start in starts(step, batch_size=3)] == epochs[0]
    assert starts(0, batch_size=2, num_tokens=11) == [0, 0]  # a text of one window has nothing to spare
    assert {starts(step, batch_size=1, num_tokens=13)[0] for step in range(40)} == {0, 1, 2}
