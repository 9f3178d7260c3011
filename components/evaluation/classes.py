"""What classifiers tell of items, and measures of it."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from components.models.classifier import ClassifierGPT
from components.models.precision import autocast

TOGETHER = 64  # items


@torch.no_grad()
def scored(
    model: ClassifierGPT, items: Sequence[Sequence[list[int]]], *, precision: str = "32-true"
) -> Iterator[Float[Tensor, "B C"]]:
    """Scores of the classes or choices of items, given as the ids of their sequences, some items at a time."""
    for start in range(0, len(items), TOGETHER):
        with autocast(precision, model.head.weight.device):
            yield model(items[start : start + TOGETHER]).scores


def told(model: ClassifierGPT, items: Sequence[Sequence[list[int]]], *, precision: str = "32-true") -> list[int]:
    """The likeliest class or choice of each item."""
    return [place for part in scored(model, items, precision=precision) for place in part.argmax(dim=1).tolist()]


def majority(true: Sequence[int]) -> float:
    """The share of the commonest class: what is told rightly by always telling it."""
    return Counter(true).most_common(1)[0][1] / len(true)


def matthews(own: Sequence[int], true: Sequence[int]) -> float:
    """Matthews' correlation of two classes, from -1 to 1; 0 where only one is ever told (Matthews 1975)."""
    first = max(true)
    pairs = Counter((mine == first, right == first) for mine, right in zip(own, true, strict=True))
    hits, misses = pairs[True, True], pairs[False, True]
    false, rest = pairs[True, False], pairs[False, False]
    spread = (hits + false) * (hits + misses) * (rest + false) * (rest + misses)
    return (hits * rest - false * misses) / math.sqrt(spread) if spread else 0.0
