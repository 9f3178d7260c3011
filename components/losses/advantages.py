"""From scores to advantages: the KL-shaped reward of RLHF, generalised advantage estimation, and group baselines."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from components.losses.masking import last_index


class Advantages(NamedTuple):
    """Advantages before whitening and the returns they imply; 0 where no token was sampled."""

    advantages: Float[Tensor, "B R"]
    returns: Float[Tensor, "B R"]


def shaped_rewards(
    scores: Float[Tensor, "B"], kl: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"], *, kl_coef: float
) -> Float[Tensor, "B R"]:
    """Per-token rewards: -kl_coef * KL of the token, plus the score at the last sampled token.

    InstructGPT (arXiv:2203.02155), equation 2, as rewards of a bandit whose episode is one reply.

    Args:
        scores: reward of each whole reply.
        kl: estimate of KL(pi, pi_ref) at each sampled token, such as log pi - log pi_ref (k1).
        response_mask: True on sampled tokens, the end marker included.
        kl_coef: reward units a nat.
    """
    rewards = -kl_coef * kl * response_mask
    return rewards.scatter_add(1, last_index(response_mask)[:, None], scores[:, None])


def generalized_advantages(
    rewards: Float[Tensor, "B R"],
    values: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    *,
    discount: float,
    gae_lambda: float,
) -> Advantages:
    """GAE (arXiv:1506.02438, equation 16): A_t = delta_t + discount * gae_lambda * A_{t+1}.

    delta_t = r_t + discount * V_{t+1} - V_t, and both V and A are 0 after the last sampled token.

    Args:
        rewards: of each token.
        values: predicted return at each token, before it is rewarded.
        response_mask: True on sampled tokens, a run from position 0.
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


def leave_one_out_advantages(returns: Float[Tensor, "B"], *, group_size: int) -> Float[Tensor, "B"]:
    """RLOO (arXiv:2402.14740, equation 8): each reply's return less the mean of the others to the same prompt.

    Args:
        returns: of whole replies, the replies to one prompt next to each other.
        group_size: replies a prompt, 2 or more.

    Returns:
        One advantage a reply.
    """
    groups = returns.view(-1, group_size)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()


def group_normalized_advantages(returns: Float[Tensor, "B"], *, group_size: int) -> Float[Tensor, "B"]:
    """GRPO (arXiv:2402.03300, section 4.1.2): (return - mean) / std over the replies to the same prompt.

    Arguments and result as in `leave_one_out_advantages`. A group whose replies are all worth the same teaches
    nothing: 1e-4 is added to the standard deviation, and the advantages are 0.
    """
    groups = returns.view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred / (groups.std(dim=1, keepdim=True) + 1e-4)).flatten()
