"""Next-token likelihood: the pretraining and fine-tuning loss, and log-probabilities of given tokens."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from components.losses.masking import masked_mean


def next_token_loss(logits: Tensor, targets: Tensor, loss_mask: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood in nats of targets, [B, T], under logits, [B, T, V] (GPT, equation 1).

    With a mask, [B, T], only the targets that count enter the mean.
    """
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return losses.mean() if loss_mask is None else masked_mean(losses, loss_mask.flatten())


def token_logprobs(logits: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Log-probability of each target, [B, T], when sampling at a temperature from logits, [B, T, V]."""
    losses = F.cross_entropy((logits.float() / temperature).flatten(0, 1), targets.flatten(), reduction="none")
    return -losses.view_as(targets)


def token_entropy(logits: Tensor, *, temperature: float) -> Tensor:
    """Entropy in nats of each next-token distribution, [B, T]."""
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """Total negative log-likelihood in nats, per UTF-8 byte of the text, in bits: nll / (ln 2 * bytes)."""
    return nats / (math.log(2) * num_bytes)
