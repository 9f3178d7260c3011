"""What becomes of queries and keys between their map and attention: rotary positions, and a norm."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from components.models.config import LinearScaling, Llama3Scaling, Rotary
from components.models.parts import shrinking_to_unit


def frequencies(rotary: Rotary, device: torch.device | str = "cpu") -> Float[Tensor, "half"]:
    """Radians that each pair turns by at a step of one position (arXiv:2104.09864, section 3.2.2)."""
    turning = 1.0 / rotary.base ** (torch.arange(0, rotary.width, 2, device=device, dtype=torch.float32) / rotary.width)
    match rotary.scaling:
        case LinearScaling(factor=factor):
            return turning / factor
        case Llama3Scaling() as scaling:
            return _llama3(turning, scaling)
    return turning


def _llama3(turning: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Pairs that turn less than `low` times in the original context are slowed, more than `high` times are not."""
    turns = scaling.original_context_length * turning / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * turning / scaling.factor + kept * turning


Angles = tuple[Float[Tensor, "#B T 1 half"], Float[Tensor, "#B T 1 half"]]


def angles(positions: Int[Tensor, "*B T"], rotary: Rotary) -> Angles:
    """Cosines and sines of what each pair has turned by at each position, in fp32."""
    turned = positions[..., None].float() * frequencies(rotary, positions.device) * rotary.direction
    turned = turned.view(-1, *turned.shape[-2:])[:, :, None]
    return turned.cos(), turned.sin()


def _prepare(
    heads: Tensor, cosines: Tensor | None, sines: Tensor | None, count: int, epsilon: float | None
) -> tuple[Tensor, Tensor | None]:
    """Turned and normalised heads beside those that stay; and what the former were scaled by."""
    found = torch.empty_like(heads)
    found[:, :, count:] = heads[:, :, count:]
    own, made = heads[:, :, :count], found[:, :, :count]
    _turn(own, cosines, sines, made)
    if epsilon is None:
        return found, None
    shrinking = shrinking_to_unit(own, epsilon)  # a turn keeps the length
    made.mul_(shrinking)
    return found, shrinking


class _Prepared(Function):
    """`_prepare`: taken apart it is three times as many passes over them, forward and back."""

    @staticmethod
    def forward(
        ctx: Any, heads: Tensor, cosines: Tensor | None, sines: Tensor | None, count: int, epsilon: float | None
    ) -> Tensor:
        found, shrinking = _prepare(heads, cosines, sines, count, epsilon)
        ctx.save_for_backward(cosines, sines, shrinking, None if epsilon is None else found)
        ctx.count = count
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None]:
        """What of the slope is along a unit vector goes, the rest is scaled as it was, and turned back."""
        cosines, sines, shrinking, found = ctx.saved_tensors
        given = torch.empty_like(slope)
        given[:, :, ctx.count :] = slope[:, :, ctx.count :]
        own = slope[:, :, : ctx.count]
        if found is not None:
            unit = found[:, :, : ctx.count]
            along = torch.linalg.vecdot(own, unit)[..., None] / unit.shape[-1]
            own = torch.addcmul(own, unit, along, value=-1).mul_(shrinking)
        _turn(own, cosines, None if sines is None else -sines, given[:, :, : ctx.count])
        return given, None, None, None, None


def _turn(heads: Tensor, cosines: Tensor | None, sines: Tensor | None, out: Tensor) -> None:
    """Write heads whose pairs have turned, computed in fp32 at least and rounded once; what is beyond them stays."""
    if cosines is None or sines is None:
        out.copy_(heads)
        return
    half = cosines.shape[-1]
    first, second = heads[..., :half], heads[..., half : 2 * half]
    for place, one, other, sign in ((0, first, second, -1), (half, second, first, 1)):
        written = out[..., place : place + half]
        if heads.dtype == cosines.dtype and not torch.compiler.is_compiling():  # which knows no such `out`
            torch.mul(one, cosines, out=written).addcmul_(other, sines, value=sign)
        else:
            written.copy_((one * cosines).addcmul_(other, sines, value=sign))
    out[..., 2 * half :] = heads[..., 2 * half :]


def prepare_heads(
    heads: Float[Tensor, "B T N E"], at: Angles | None, *, count: int, epsilon: float | None
) -> Float[Tensor, "B T N E"]:
    """Heads of which the first `count`, queries and keys, have turned (arXiv:2104.09864); those of values stay.

    With an epsilon, those that turn have mean square 1.
    """
    if at is None and epsilon is None:
        return heads
    cosines, sines = at or (None, None)
    if not (torch.is_grad_enabled() and heads.requires_grad):
        return _prepare(heads, cosines, sines, count, epsilon)[0]
    found: Tensor = _Prepared.apply(heads, cosines, sines, count, epsilon)  # type: ignore[no-untyped-call]
    return found
