"""A weighted mixture of corpora (Brown et al. 2020, table 2.2): each window's corpus is drawn by weight, and a corpus
that is used up before the others is begun again.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**14  # rows that are drawn at once


class Mixture:
    """The corpus of each of a run's rows: a function of seed and row, however the rows are cut into batches."""

    def __init__(self, weights: Mapping[str, float], *, seed: int) -> None:
        """Weights need not sum to 1: those printed for GPT-3 sum to 1.01."""
        self.names = sorted(weights)  # so that their order in a file means nothing
        total = sum(weights.values())
        self.shares = {name: weights[name] / total for name in self.names}
        self._bounds = np.cumsum(list(self.shares.values()))[:-1]
        self._seed = seed
        self._before = [np.zeros(len(self.names), dtype=np.int64)]  # rows of each corpus before each block
        self._drawn: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))

    def places(self, rows: range) -> list[tuple[str, int]]:
        """For each of these rows its corpus, and how many rows were of that corpus before it."""
        found: list[tuple[str, int]] = []
        for block in range(rows.start // BLOCK, -(-rows.stop // BLOCK)):
            corpora, before = self._block(block), self._until(block).copy()
            first, last = max(rows.start - block * BLOCK, 0), min(rows.stop - block * BLOCK, BLOCK)
            before += np.bincount(corpora[:first], minlength=len(self.names))
            for corpus in corpora[first:last].tolist():
                found.append((self.names[corpus], int(before[corpus])))
                before[corpus] += 1
        return found

    def drawn(self, rows: int) -> Counter[str]:
        """How many of the first rows are of each corpus."""
        whole, rest = divmod(rows, BLOCK)
        counts = self._until(whole) + np.bincount(self._block(whole)[:rest], minlength=len(self.names))
        return Counter(dict(zip(self.names, counts.tolist(), strict=True)))

    def _until(self, block: int) -> NDArray[np.int64]:
        while len(self._before) <= block:
            counts = np.bincount(self._block(len(self._before) - 1), minlength=len(self.names))
            self._before.append(self._before[-1] + counts)
        return self._before[block]

    def _block(self, block: int) -> NDArray[np.int64]:
        if self._drawn[0] != block:
            uniform = np.random.default_rng((self._seed, block, 2)).random(BLOCK)
            self._drawn = (block, np.searchsorted(self._bounds, uniform, side="right"))
        return self._drawn[1]
