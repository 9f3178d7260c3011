"""BLEU of a set of replies as a figure that intervals and paired tests can be made of; needs the extra `zero-shot`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics import BLEU

ORDER = 4  # of the longest n-grams


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU (Papineni et al. 2002) of N replies, as sacrebleu counts it, in points of 100.

    parts [N, 10]: of each reply the n-grams that its reference has, all of its n-grams, n being 1 to 4, its length and
    its reference's.
    """

    parts: np.ndarray
    scale: str = "points"

    def value(self, sums: np.ndarray) -> np.ndarray:
        """BLEU of summed parts, [..., 10]."""

        def one(row: np.ndarray) -> float:
            counts = row.astype(int).tolist()
            own, all_own, lengths = counts[:ORDER], counts[ORDER : 2 * ORDER], counts[2 * ORDER :]
            return float(BLEU.compute_bleu(own, all_own, *lengths, smooth_method="exp").score)

        return np.apply_along_axis(one, -1, sums)


def bleu(replies: Sequence[str], references: Sequence[str]) -> Bleu:
    """Of replies, with a reference each."""
    metric = BLEU(effective_order=True)
    found = [metric.sentence_score(own, [right]) for own, right in zip(replies, references, strict=True)]
    parts = [[*each.counts, *each.totals, each.sys_len, each.ref_len] for each in found]
    return Bleu(np.array(parts, dtype=float))
