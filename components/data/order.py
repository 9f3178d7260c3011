"""Which rows or windows a training step takes: functions of their arguments alone, so that a resumed run sees the data
that an uninterrupted one would, and a step costs what its batch holds however much data there is.
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
Words = NDArray[np.uint64]


def epoch_rows(step: int, *, batch_size: int, num_rows: int, seed: int) -> list[int]:
    """Row numbers of a step's batch: without replacement until an epoch ends, then in a new order."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [row for _, row in _picks(places, num_rows=num_rows, seed=seed)]


def epoch_windows(places: range, *, num_tokens: int, context_length: int, seed: int) -> list[int]:
    """First tokens of windows of T + 1 of a text's tokens, those at these places of a run's: consecutive windows, in a
    random order.

    Every epoch cuts the text at other places, up to a window's length apart: a text that is read again is then read in
    other contexts. On tinyshakespeare, four epochs, that was worth 0.01 nats a character (LOG.md).
    """
    num_windows = max(1, (num_tokens - 1) // context_length - 1)
    spare = num_tokens - 1 - num_windows * context_length
    picks = _picks(places, num_rows=num_windows, seed=seed)
    cuts = {
        epoch: int(np.random.default_rng((seed, epoch, 1)).integers(min(context_length, spare + 1)))
        for epoch in {epoch for epoch, _ in picks}
    }
    return [row * context_length + cuts[epoch] for epoch, row in picks]


def _picks(places: range, *, num_rows: int, seed: int) -> list[tuple[int, int]]:
    """Epoch and row of consecutive places of a run."""
    picks: list[tuple[int, int]] = []
    position = places.start
    while position < places.stop:
        epoch, place = divmod(position, num_rows)
        count = min(places.stop - position, num_rows - place)
        numbers = np.arange(place, place + count, dtype=np.uint64)
        picks += [(epoch, row) for row in _shuffled(numbers, num_rows, (seed, epoch)).tolist()]
        position += count
    return picks


def _shuffled(places: Words, num_rows: int, key: tuple[int, int]) -> Words:
    """Rows at these places of a pseudo-random order of num_rows: a bijection, made of the key and the place alone.

    A Feistel network permutes the 2^2h numbers of twice h bits, of which num_rows are wanted: what falls beyond goes
    through it again until it does not (cycle walking; Black and Rogaway 2002), less than four times on average.
    """
    half = np.uint64(max(1, ((num_rows - 1).bit_length() + 1) // 2))
    keys = np.random.default_rng(key).integers(2**64, size=ROUNDS, dtype=np.uint64)
    rows = _feistel(places, half, keys)
    while (beyond := rows >= num_rows).any():
        rows[beyond] = _feistel(rows[beyond], half, keys)
    return rows


def _feistel(numbers: Words, half: np.uint64, keys: Words) -> Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(words: Words) -> Words:
    """Every bit of the result depends on every bit of the word: the finaliser of MurmurHash3, modulo 2^64."""
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ (words >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return words ^ (words >> np.uint64(33))
