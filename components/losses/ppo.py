"""PPO's clipped policy and value losses, and estimators of the KL divergence.

k1, k2 and k3 are named after J. Schulman, "Approximating KL Divergence" (2020).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.losses.masking import masked_mean


class PolicyLoss(NamedTuple):
    """The loss to minimise, and detached figures over the same tokens."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    approximate_kl: Float[Tensor, ""]


class ValueLoss(NamedTuple):
    """The loss to minimise and the detached share of tokens whose clipped term won."""

    loss: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]


def clipped_policy_loss(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    *,
    clip_ratio: float,
    count: Int[Tensor, ""] | None = None,
) -> PolicyLoss:
    """Clipped surrogate objective, negated, averaged over sampled tokens (PPO, arXiv:1707.06347, equation 7).

    Args:
        logprobs: log-probability of each sampled token under the policy being updated.
        old_logprobs: the same tokens under the policy that sampled them, detached.
        advantages: whitened advantages, detached.
        response_mask: True on sampled tokens, the end marker included.
        clip_ratio: epsilon of equation 7; a ratio outside 1 +- epsilon stops paying.
        count: sampled tokens of the whole optimizer step, where these rows are a part of it.
    """
    log_ratio = (logprobs - old_logprobs) * response_mask
    ratio = log_ratio.exp()
    unclipped = ratio * advantages
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio) * advantages
    loss = -masked_mean(torch.minimum(unclipped, clipped), response_mask, count)
    with torch.no_grad():
        clip_fraction = masked_mean((clipped < unclipped).float(), response_mask, count)
        approximate_kl = masked_mean(0.5 * log_ratio**2, response_mask, count)
    return PolicyLoss(loss, clip_fraction, approximate_kl)


def clipped_value_loss(
    values: Float[Tensor, "B R"],
    old_values: Float[Tensor, "B R"],
    returns: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    *,
    value_clip: float,
    count: Int[Tensor, ""] | None = None,
) -> ValueLoss:
    """0.5 * max((V - R)^2, (clip(V, V_old +- value_clip) - R)^2), averaged over sampled tokens.

    Ziegler et al. 2019 (arXiv:1909.08593), released code `train_policy.py`. `count` as in `clipped_policy_loss`.
    """
    clipped = torch.minimum(torch.maximum(values, old_values - value_clip), old_values + value_clip)
    plain_error, clipped_error = (values - returns) ** 2, (clipped - returns) ** 2
    loss = 0.5 * masked_mean(torch.maximum(plain_error, clipped_error), response_mask, count)
    clip_fraction = masked_mean((clipped_error > plain_error).float(), response_mask, count)
    return ValueLoss(loss, clip_fraction.detach())


def kl_k1(logprobs: Float[Tensor, "*places"], reference_logprobs: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """log pi - log pi_ref of each sampled token: unbiased for KL(pi || pi_ref), may be negative."""
    return logprobs - reference_logprobs


def kl_k2(logprobs: Float[Tensor, "*places"], reference_logprobs: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """0.5 (log pi - log pi_ref)^2 of each sampled token: biased, low variance; as a loss its gradient is the KL's."""
    return 0.5 * (logprobs - reference_logprobs) ** 2


def kl_k3(logprobs: Float[Tensor, "*places"], reference_logprobs: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """r - 1 - log r with r = pi_ref / pi of each sampled token: unbiased for KL(pi || pi_ref), never negative."""
    log_ratio = reference_logprobs - logprobs
    return log_ratio.exp() - 1 - log_ratio


def exact_kl(
    logprobs: Float[Tensor, "*places V"], reference_logprobs: Float[Tensor, "*places V"]
) -> Float[Tensor, "*places"]:
    """KL(pi || pi_ref) in nats of each next-token distribution, from all log-probabilities."""
    difference = (logprobs - reference_logprobs).masked_fill(logprobs == float("-inf"), 0.0)
    return (logprobs.exp() * difference).sum(dim=-1)
