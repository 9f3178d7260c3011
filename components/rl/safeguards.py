"""What must hold before the first policy update, and what ends a run that is going wrong. Every cause is named."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from components.losses.ppo import clipped_policy_loss
from components.rl.rollout import Rollout
from components.runtime import StageStopped

if TYPE_CHECKING:
    from components.stages.ppo import Stops

RATIO_TOLERANCE = 1e-5
KL_TOLERANCE = 1e-6
BIAS_TOLERANCE = 0.05  # of the standard deviation of the demonstrations' scores


class PreflightFailed(StageStopped):
    """Something does not hold that must before the first update; the message lists everything that does not."""


class TrainingStopped(StageStopped):
    """A stop rule ended the run; the message names the rule, the figure and what to change."""


def preflight(
    rollout: Rollout,
    logprobs_again: Float[Tensor, "B R"],
    *,
    clip_ratio: float,
    demonstrations: Mapping[str, float],
) -> None:
    """Check a rollout of the untouched policy, made in fp32.

    Args:
        rollout: its policy has the reference's weights.
        logprobs_again: of the same tokens by the path that the update takes.
        clip_ratio: of the policy loss.
        demonstrations: mean and std of the reward model's scores of demonstrations; empty without a reward model.

    Raises:
        PreflightFailed: KL(policy, reference) is not 0, ratios are not 1, something is not finite, or the reward
            model's bias was not set.
    """
    mask = rollout.batch.response_mask
    unit = torch.ones_like(rollout.old_logprobs)
    loss = clipped_policy_loss(logprobs_again, rollout.old_logprobs, unit, mask, clip_ratio=clip_ratio)
    kl = float((rollout.exact_kl * mask).sum() / mask.sum())
    deviation = float((((logprobs_again - rollout.old_logprobs) * mask).exp() - 1).abs().max())
    shift, spread = demonstrations.get("mean", 0.0), demonstrations.get("std", 1.0)
    checks = {
        f"KL(policy, reference) is {kl:.3g} nats a token, not 0: they differ in weights or in how they are run":
            abs(kl) < KL_TOLERANCE,
        f"the update's probabilities differ from the rollout's by a factor of 1 +- {deviation:.3g}: another "
        "temperature, another cut of the vocabulary or another padding": deviation <= RATIO_TOLERANCE,
        f"the approximate KL of no update is {float(loss.approximate_kl):.3g}":
            float(loss.approximate_kl) < KL_TOLERANCE,
        f"no update clips {float(loss.clip_fraction):.3g} of the tokens": float(loss.clip_fraction) == 0,
        "a score is not finite": bool(torch.isfinite(rollout.raw_scores).all()),
        "a predicted value is not finite": bool(torch.isfinite(rollout.old_values).all()),
        f"the reward model scores demonstrations {shift:.3g} on average, not 0: its bias was not set":
            abs(shift) <= BIAS_TOLERANCE * spread,
    }  # fmt: skip
    failed = [cause for cause, holds in checks.items() if not holds]
    if failed:
        raise PreflightFailed("the policy must not be updated yet:\n" + "\n".join(f"  {cause}" for cause in failed))


def check_rollout(figures: Mapping[str, float], first: Mapping[str, float], stops: "Stops") -> None:
    """End the run when a rollout breaks a stop rule.

    Args:
        figures: of this rollout, by the names of `rollout_figures`.
        first: of the run's first rollout.
        stops: the rules, `ppo.stops`.

    Raises:
        TrainingStopped: names the rule.
    """
    kl = figures["rollout/kl_per_reply"]
    if not math.isfinite(kl) or kl > stops.kl_per_reply:
        raise TrainingStopped(
            f"the KL budget is spent: {kl:.4g} nats a reply, ppo.stops.kl_per_reply is {stops.kl_per_reply:g}. "
            "Raise ppo.kl_coef or lower ppo.policy.learning_rate"
        )
    rules = {
        "entropy": stops.entropy_share,
        "distinct_2": stops.distinct_2_share,
        "response_tokens": stops.response_tokens_share,
        "ended_share": stops.ended_share,
    }
    for quantity, share in rules.items():
        name = f"rollout/{quantity}"
        if figures[name] < share * first[name]:
            rule = f"ppo.stops.{quantity.removesuffix('_share')}_share"
            raise TrainingStopped(
                f"the policy has collapsed: {name} is {figures[name]:.4g}, at the start {first[name]:.4g}, "
                f"and {rule} is {share:g}. Raise ppo.kl_coef, or look at what the reward source pays for"
            )
