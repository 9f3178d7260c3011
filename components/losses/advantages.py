"""From scores to advantages: the KL-shaped reward of RLHF and generalised advantage estimation."""

from typing import NamedTuple

import torch
from torch import Tensor

from components.losses.masking import last_index


class Advantages(NamedTuple):
    """Advantages before whitening and the returns they imply, [B, R], 0 where no token was sampled."""

    advantages: Tensor
    returns: Tensor


def shaped_rewards(
    scores: Tensor, logprobs: Tensor, reference_logprobs: Tensor, response_mask: Tensor, *, kl_coef: float
) -> Tensor:
    """Per-token rewards, [B, R]: -kl_coef * (log pi - log pi_ref), plus the score at the last sampled token.

    InstructGPT (arXiv:2203.02155), equation 2, as rewards of a bandit whose episode is one reply.

    Args:
        scores: reward of each whole reply, [B].
        logprobs: of the sampled tokens under the policy that sampled them, [B, R].
        reference_logprobs: of the same tokens under the SFT model, [B, R].
        response_mask: True on sampled tokens, the end marker included, [B, R].
    """
    rewards = -kl_coef * (logprobs - reference_logprobs) * response_mask
    return rewards.scatter_add(1, last_index(response_mask)[:, None], scores[:, None])


def generalized_advantages(
    rewards: Tensor, values: Tensor, response_mask: Tensor, *, discount: float, gae_lambda: float
) -> Advantages:
    """GAE (arXiv:1506.02438, equation 16): A_t = delta_t + discount * gae_lambda * A_{t+1}.

    delta_t = r_t + discount * V_{t+1} - V_t, and both V and A are 0 after the last sampled token.

    Args:
        rewards: per-token rewards, [B, R].
        values: predicted return at each token, before it is rewarded, [B, R].
        response_mask: True on sampled tokens, a run from position 0, [B, R].
    """
    values = values * response_mask
    next_advantage = next_value = torch.zeros_like(values[:, 0])
    columns = []
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + discount * next_value - values[:, t]
        next_advantage = (delta + discount * gae_lambda * next_advantage) * response_mask[:, t]
        next_value = values[:, t]
        columns.append(next_advantage)
    advantages = torch.stack(columns[::-1], dim=1)
    return Advantages(advantages, advantages + values)
