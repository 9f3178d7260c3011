"""Which rows or windows a training step takes: functions of their arguments alone, so that a resumed run sees the data
that an uninterrupted one would.
"""

from collections.abc import Iterator

import numpy as np


def epoch_rows(step: int, *, batch_size: int, num_rows: int, seed: int) -> list[int]:
    """Row numbers of a step's batch: without replacement until an epoch ends, then in a new order."""
    return [row for _, row in _picks(step, batch_size=batch_size, num_rows=num_rows, seed=seed)]


def epoch_windows(step: int, *, batch_size: int, num_tokens: int, context_length: int, seed: int) -> list[int]:
    """First tokens of a step's windows of T + 1 of a text's tokens: consecutive windows, in a random order.

    Every epoch cuts the text at other places, up to a window's length apart: a text that is read again is then read in
    other contexts. On tinyshakespeare, four epochs, that was worth 0.01 nats a character (LOG.md).
    """
    num_windows = max(1, (num_tokens - 1) // context_length - 1)
    spare = num_tokens - 1 - num_windows * context_length
    return [
        row * context_length + int(np.random.default_rng((seed, epoch, 1)).integers(min(context_length, spare + 1)))
        for epoch, row in _picks(step, batch_size=batch_size, num_rows=num_windows, seed=seed)
    ]


def _picks(step: int, *, batch_size: int, num_rows: int, seed: int) -> Iterator[tuple[int, int]]:
    """Epoch and row of each place of a step's batch."""
    orders: dict[int, np.ndarray] = {}
    for position in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(position, num_rows)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng((seed, epoch)).permutation(num_rows)
        yield epoch, int(orders[epoch][place])
