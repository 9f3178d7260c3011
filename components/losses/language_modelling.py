"""Next-token likelihood: the pretraining and fine-tuning loss."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from components.losses.cross_entropy import target_losses

# Logits, N x V, are a step's largest tensor. Beyond so many, parts have theirs made, used and forgotten, and made once
# more for the gradients: a tenth of a step, for 1.4 GiB less at 2048 x 49152.
WHOLE = 2**26


def next_token_loss(
    hidden: Float[Tensor, "B T D"],
    head: Float[Tensor, "V D"],
    targets: Int[Tensor, "B T"],
    loss_mask: Bool[Tensor, "B T"] | None = None,
    count: Int[Tensor, ""] | None = None,
    *,
    cap: float | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood in nats of targets (GPT, equation 1).

    Args:
        hidden: final states that predict the targets.
        head: weights of the linear map to logits.
        targets: ids.
        loss_mask: the targets that count; the others never reach the head.
        count: number of targets of the whole batch, where these rows are a part of it.
        cap: what the logits are bent to lie within (`capped`).
    """
    if loss_mask is None:
        hidden, targets = hidden.flatten(0, 1), targets.flatten()
    else:
        hidden, targets = hidden[loss_mask], targets[loss_mask]
    if count is None:
        count = torch.tensor(len(targets), device=targets.device)
    return _total(hidden, head, targets, cap) / count.clamp(min=1)


def capped(logits: Float[Tensor, "*places V"], cap: float | None) -> Float[Tensor, "*places V"]:
    """cap * tanh(logits / cap) (Gemma 2, arXiv:2408.00118, section 2); as they are without a cap.

    In fp32 at least, as `target_losses` bends them: rounded to bf16 here alone, sampler and trainer would differ.
    """
    if cap is None:
        return logits
    return (logits.to(torch.promote_types(logits.dtype, torch.float32)) / cap).tanh_() * cap


def _total(hidden: Tensor, head: Tensor, targets: Tensor, cap: float | None) -> Tensor:
    rows = WHOLE // len(head)
    if len(targets) <= rows:
        return target_losses(hidden, head, targets, cap=cap).sum()
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    sums = [checkpoint(target_losses, states, head, own, cap=cap, use_reentrant=False).sum() for states, own in parts]
    return torch.stack(sums).sum()


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Total negative log-likelihood in nats, per UTF-8 byte of the text, in bits: nll / (ln 2 * bytes)."""
    return nats / (math.log(2) * num_bytes)
