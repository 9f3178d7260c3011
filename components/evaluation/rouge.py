"""ROUGE of texts; needs the extra `zero-shot`."""

from collections.abc import Sequence

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

KINDS = ("rouge1", "rouge2", "rougeL")


def rouge(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """F1 of n-grams of stems, n being 1 and 2, and of the longest common subsequence (Lin 2004), [N, 3]."""
    scorer = RougeScorer(KINDS, use_stemmer=True)
    found = [scorer.score(right, own) for own, right in zip(texts, references, strict=True)]
    return np.array([[each[kind].fmeasure for kind in KINDS] for each in found])
