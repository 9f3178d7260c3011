"""Next-token likelihood: the pretraining and fine-tuning loss."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions
from torch.nn import functional as F

# The logits, B x T x V, are a step's largest tensor: in fp32 so many targets at a time have theirs made, used and
# forgotten. PyTorch adds the parts of a bf16 loss up in bf16, three digits, so bf16 has them whole.
CHUNK = 512
CHUNKED = LinearCrossEntropyOptions(batch_chunk_size=CHUNK, acc_policy="compact")


def next_token_loss(
    hidden: Float[Tensor, "B T D"],
    head: Float[Tensor, "V D"],
    targets: Int[Tensor, "B T"],
    loss_mask: Bool[Tensor, "B T"] | None = None,
    count: Int[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood in nats of targets (GPT, equation 1).

    Args:
        hidden: final states that predict the targets.
        head: weights of the linear map to logits.
        targets: ids.
        loss_mask: the targets that count; the others never reach the head.
        count: number of targets of the whole batch, where these rows are a part of it.
    """
    if loss_mask is None:
        hidden, targets = hidden.flatten(0, 1), targets.flatten()
    else:
        hidden, targets = hidden[loss_mask], targets[loss_mask]
    if count is None:
        count = torch.tensor(len(targets), device=targets.device)
    return _total(hidden, head, targets) / count.clamp(min=1)


def _total(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    device = hidden.device.type
    if torch.is_autocast_enabled(device) or hidden.dtype != torch.float32:
        return F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="sum")
    return F.linear_cross_entropy(hidden, head, targets, reduction="sum", options=CHUNKED)


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Total negative log-likelihood in nats, per UTF-8 byte of the text, in bits: nll / (ln 2 * bytes)."""
    return nats / (math.log(2) * num_bytes)
