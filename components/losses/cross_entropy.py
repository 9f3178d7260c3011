"""Cross-entropy of a large vocabulary, whose logits are met once."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Logits that are worked on at once on a CPU: 1 MiB in fp32, which its second cache holds from one pass to the next.
BLOCK = 2**18


class _TargetLosses(Function):
    """Losses and the slopes of their logits in one visit, block by block.

    PyTorch's own would read and write all logits in fp32 at every step of softmax, cap, cast and their gradients, ten
    times and more; slopes are kept in the type of the matrix product, which is what its gradients are made from.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, cap: float | None, scale: float
    ) -> Float[Tensor, "N"]:
        """-log softmax(scale * capped(hidden head'))[target] of each row."""
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            states, weights = hidden.to(dtype), head.to(dtype)
            logits = F.linear(states, weights)
            wanted = any(ctx.needs_input_grad[:2])
            rows = max(1, BLOCK // len(head)) if device == "cpu" else max(1, len(targets))
            parts = zip(torch.split(logits, rows), torch.split(targets, rows), strict=True)
            losses = [_visit(part, own, cap, scale, wanted=wanted) for part, own in parts]
        ctx.save_for_backward(states, weights, logits)
        ctx.dtypes = hidden.dtype, head.dtype
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Rows scale states, not logits: slope_n commutes with the sums over the vocabulary."""
        states, weights, slopes = ctx.saved_tensors
        of_hidden, of_head = ctx.dtypes
        own, other = None, None
        with torch.autocast(slopes.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                own = (slope[:, None] * (slopes @ weights)).to(of_hidden)
            if ctx.needs_input_grad[1]:
                other = (slopes.mT @ (slope[:, None] * states).to(slopes.dtype)).to(of_head)
        return own, other, None, None, None


def _visit(logits: Tensor, targets: Tensor, cap: float | None, scale: float, *, wanted: bool) -> Tensor:
    """Losses of some rows, [N]; where slopes are wanted they take the place of the logits, [N, V]."""
    bent = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if cap is not None:
        bent = (bent / cap).tanh_()
    factor = scale * (cap or 1.0)
    logprobs = (bent * factor if factor != 1 else bent).log_softmax(-1)
    losses = -logprobs.gather(-1, targets[:, None])[:, 0]
    if wanted:
        slopes = logprobs.exp_()
        slopes.scatter_add_(-1, targets[:, None], slopes.new_full((len(targets), 1), -1.0))
        if cap is not None:  # of cap * tanh(x / cap): 1 - tanh squared
            slopes.addcmul_(slopes, bent.square_(), value=-1.0)
        logits.copy_(slopes.mul_(scale) if scale != 1 else slopes)
    return losses


def target_losses(
    hidden: Float[Tensor, "N D"],
    head: Float[Tensor, "V D"],
    targets: Int[Tensor, "N"],
    *,
    cap: float | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, "N"]:
    """Negative log-likelihood in nats, in fp32 at least, of each target under softmax(logits / temperature).

    The matrix product is in the type of autocast, or that of `hidden`. Gradients once, not twice.

    Args:
        hidden: final states that predict the targets.
        head: weights of the linear map to logits.
        cap: what the logits are bent to lie within, cap * tanh(logits / cap).
    """
    found: Tensor = _TargetLosses.apply(  # type: ignore[no-untyped-call]
        hidden, head, targets, cap, 1.0 / temperature
    )
    return found
