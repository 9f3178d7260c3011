"""Rollouts: sample replies, score them, and work out what each token was worth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from components import schema
from components.data.sequences import SequenceBatch, pack
from components.losses.advantages import generalized_advantages, shaped_rewards
from components.losses.language_modelling import token_entropy, token_logprobs
from components.losses.masking import masked_mean, whiten
from components.losses.ppo import kl_k1, kl_k3
from components.models.generation import Sampling, sample_replies
from components.models.heads import ScalarGPT
from components.models.scoring import response_logits, response_logprobs, response_values, sequence_scores
from components.models.transformer import GPT


@dataclass(frozen=True)
class Rollout:
    """Sampled replies and all that the update needs of them; tensors are [B, R] unless said otherwise, detached.

    batch: the sequences. scores: the reward of each whole reply, after the rule for unended ones, [B].
    raw_scores: as the reward model gave it, [B]. ended: [B].
    """

    batch: SequenceBatch
    old_logprobs: Tensor
    reference_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    entropy: Tensor
    scores: Tensor
    raw_scores: Tensor
    ended: Tensor

    def rows(self, index: Tensor) -> "Rollout":
        """Some rows, cut to their own longest reply."""
        batch = self.batch.rows(index)
        width = batch.response_mask.shape[1]

        def cut(values: Tensor) -> Tensor:
            return values[index, :width]

        return Rollout(
            batch,
            cut(self.old_logprobs),
            cut(self.reference_logprobs),
            cut(self.old_values),
            cut(self.advantages),
            cut(self.returns),
            cut(self.entropy),
            self.scores[index],
            self.raw_scores[index],
            self.ended[index],
        )


@torch.no_grad()
def collect(
    prompts: list[list[int]],
    *,
    policy: GPT,
    reference: GPT,
    reward_model: ScalarGPT,
    value_model: ScalarGPT,
    ppo: schema.Ppo,
    sampling: Sampling,
    max_new_tokens: int,
    end_id: int,
    pad_id: int,
    generator: torch.Generator,
) -> Rollout:
    """One rollout.

    1. Sample a reply to each prompt.
    2. Log-probabilities under the policy (by the function that the update uses) and the reference; values.
    3. Score whole replies; one that does not end gets a fixed score (Ziegler et al. 2019).
    4. KL-shaped rewards, advantages, returns; then whiten the advantages over the sampled tokens.
    """
    replies = sample_replies(
        policy,
        prompts,
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        end_id=end_id,
        pad_id=pad_id,
        generator=generator,
    )
    ids = [row[mask].tolist() for row, mask in zip(replies.response_ids, replies.response_mask, strict=True)]
    batch = pack(prompts, ids, pad_id=pad_id).to(replies.ended.device)
    mask = batch.response_mask
    logits = response_logits(policy, batch)
    old_logprobs = token_logprobs(logits, batch.response_ids, temperature=sampling.temperature) * mask
    reference_logprobs = response_logprobs(reference, batch, temperature=sampling.temperature) * mask
    values = response_values(value_model, batch) * mask
    raw_scores = sequence_scores(reward_model, batch)
    scores = torch.where(replies.ended, raw_scores, torch.full_like(raw_scores, ppo.unended_score))
    rewards = shaped_rewards(scores, old_logprobs, reference_logprobs, mask, kl_coef=ppo.kl_coef)
    gae = generalized_advantages(rewards, values, mask, discount=ppo.discount, gae_lambda=ppo.gae_lambda)
    return Rollout(
        batch,
        old_logprobs,
        reference_logprobs,
        values,
        whiten(gae.advantages, mask),
        gae.returns,
        token_entropy(logits, temperature=sampling.temperature) * mask,
        scores,
        raw_scores,
        replies.ended,
    )


def rollout_figures(rollout: Rollout) -> dict[str, float]:
    """What to watch of a rollout; docs/metrics.md defines each."""
    mask = rollout.batch.response_mask
    k1 = kl_k1(rollout.old_logprobs, rollout.reference_logprobs)
    k3 = kl_k3(rollout.old_logprobs, rollout.reference_logprobs)
    residual = masked_mean((rollout.returns - rollout.old_values) ** 2, mask)
    spread = masked_mean((rollout.returns - masked_mean(rollout.returns, mask)) ** 2, mask)
    figures = {
        "score": rollout.scores.mean(),
        "reward_model_score": rollout.raw_scores.mean(),
        "score_std": rollout.scores.std(),
        "kl_per_reply": k1.sum(dim=1).mean(),
        "kl_per_token": masked_mean(k1, mask),
        "kl_k3_per_token": masked_mean(k3, mask),
        "entropy": masked_mean(rollout.entropy, mask),
        "response_tokens": mask.sum(dim=1).float().mean(),
        "ended_share": rollout.ended.float().mean(),
        "explained_variance": 1 - residual / spread.clamp(min=1e-8),
    }
    return {f"rollout/{name}": float(value) for name, value in figures.items()}
