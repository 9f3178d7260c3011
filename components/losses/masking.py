"""Means over the positions that count. Every loss and every metric of a ragged batch goes through here."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

Total = Callable[[Num[Tensor, "..."]], Num[Tensor, "..."]]
"""Sums a tensor over all processes that share a batch."""


def alone(value: Num[Tensor, "*shape"]) -> Num[Tensor, "*shape"]:
    """The total over processes when there is one process."""
    return value


def masked_mean(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], count: Int[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """Sum of values where mask is True over how many count; 0 where nothing counts.

    `count` is given when the batch is a part of a larger one (a micro-batch, one process's rows): dividing every
    part by the count of the whole makes the parts' sum the mean of the whole, however it was cut.
    """
    count = mask.sum() if count is None else count
    return (values * mask).sum() / count.clamp(min=1)


def whiten(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, shift_mean: bool = True, total: Total = alone
) -> Float[Tensor, "*shape"]:
    """Scale so that the counted values have variance 1, and shift their mean to 0 unless told not to; 0 elsewhere.

    Ziegler et al. 2019 (arXiv:1909.08593), released code `utils/core.py`: `(x - mean) * rsqrt(var + 1e-8)`, plus the
    mean when it is not to be shifted. Differences: the moments are of the counted positions only, of all processes.
    """
    count = total(mask.sum()).clamp(min=1)
    mean = total((values * mask).sum()) / count
    variance = total(((values - mean) ** 2 * mask).sum()) / count
    white = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (white if shift_mean else white + mean) * mask


def last_index(mask: Bool[Tensor, "*B T"]) -> Int[Tensor, "*B"]:
    """Position of the last True of each row.

    Raises:
        ValueError: a row has none.
    """
    if not bool(mask.any(dim=-1).all()):
        raise ValueError("a row of the mask counts nothing")
    return mask.shape[-1] - 1 - mask.flip(-1).to(torch.uint8).argmax(dim=-1)
