"""Which rows a training step takes."""

import numpy as np


def epoch_rows(step: int, *, batch_size: int, num_rows: int, seed: int) -> list[int]:
    """Row numbers of a step's batch: without replacement until an epoch ends, then in a new order.

    A function of its arguments alone, so that a resumed run sees the data that an uninterrupted one would.
    """
    picks = []
    orders: dict[int, np.ndarray] = {}
    for position in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(position, num_rows)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng((seed, epoch)).permutation(num_rows)
        picks.append(int(orders[epoch][place]))
    return picks
