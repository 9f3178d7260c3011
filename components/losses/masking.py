"""Means over the positions that count. Every loss and every metric of a ragged batch goes through here."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask is True, a scalar; 0 where nothing counts."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale so that the counted values have mean 0 and variance 1; 0 elsewhere.

    Ziegler et al. 2019 (arXiv:1909.08593), released code `utils/core.py`: `(x - mean) * rsqrt(var + 1e-8)`.
    Differences: the moments are of the counted positions only.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def last_index(mask: Tensor) -> Tensor:
    """Position of the last True of each row, [B], of a mask, [B, T].

    Raises:
        ValueError: a row has none.
    """
    if not bool(mask.any(dim=-1).all()):
        raise ValueError("a row of the mask counts nothing")
    return mask.shape[-1] - 1 - mask.flip(-1).to(torch.uint8).argmax(dim=-1)
