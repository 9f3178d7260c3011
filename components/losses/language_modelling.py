"""Next-token likelihood: the pretraining and fine-tuning loss."""

import math

from torch import Tensor
from torch.nn import functional as F

from components.losses.masking import masked_mean


def next_token_loss(
    logits: Tensor, targets: Tensor, loss_mask: Tensor | None = None, count: Tensor | None = None
) -> Tensor:
    """Mean negative log-likelihood in nats of targets, [B, T], under logits, [B, T, V] (GPT, equation 1).

    With a mask, [B, T], only the targets that count enter the mean. `count` is the number of targets of the whole
    batch where these rows are a part of it.
    """
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    if loss_mask is None:
        return losses.mean() if count is None else losses.sum() / count
    return masked_mean(losses, loss_mask.flatten(), count)


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Total negative log-likelihood in nats, per UTF-8 byte of the text, in bits: nll / (ln 2 * bytes)."""
    return nats / (math.log(2) * num_bytes)
