"""Rollouts: sample replies, score them, and work out what each token was worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.data.sequences import SequenceBatch, pack
from components.losses.advantages import (
    generalized_advantages,
    group_normalized_advantages,
    leave_one_out_advantages,
    shaped_rewards,
)
from components.losses.masking import Total, alone, whiten
from components.losses.ppo import exact_kl, kl_k1, kl_k2, kl_k3
from components.losses.sampling import Sampling, candidates, scaled_logits, token_entropy
from components.models.generation import Replies
from components.models.heads import ScalarGPT
from components.models.scoring import reply_states, response_values
from components.models.transformer import GPT

if TYPE_CHECKING:
    from components.stages.ppo import Ppo

LOGITS = 2**24  # of policy or reference, made at once: of a large vocabulary the distributions are the largest tensors
PER_TOKEN = ("old_logprobs", "reference_logprobs", "exact_kl", "entropy")


@dataclass(frozen=True)
class Rollout:
    """Sampled replies and all that the update needs of them; tensors are detached.

    batch: the sequences. kept: what the sampler could draw, or None for everything. old_logprobs,
    reference_logprobs: of the sampled tokens. exact_kl, entropy: of the distributions they were drawn from.
    old_values: the value network's predictions, 0 without one. raw_scores: as the reward source gave them.
    scores: after the rule for unended replies.
    """

    batch: SequenceBatch
    kept: Bool[Tensor, "B R V"] | None
    old_logprobs: Float[Tensor, "B R"]
    reference_logprobs: Float[Tensor, "B R"]
    exact_kl: Float[Tensor, "B R"]
    entropy: Float[Tensor, "B R"]
    old_values: Float[Tensor, "B R"]
    raw_scores: Float[Tensor, "B"]
    scores: Float[Tensor, "B"]
    ended: Bool[Tensor, "B"]


@dataclass(frozen=True)
class Experience:
    """What one update reads of some rows of a rollout: the rollout itself, and what its tokens were worth."""

    rollout: Rollout
    advantages: Float[Tensor, "B R"]
    returns: Float[Tensor, "B R"]

    def rows(self, index: Int[Tensor, "N"]) -> "Experience":
        """Some rows, cut to their own longest reply."""
        batch = self.rollout.batch.rows(index)
        width = batch.response_mask.shape[1]

        def cut(values: Tensor | None) -> Tensor | None:
            return values if values is None else values[index] if values.ndim == 1 else values[index, :width]

        parts = {f.name: cut(getattr(self.rollout, f.name)) for f in fields(Rollout) if f.name != "batch"}
        rollout = Rollout(batch, **parts)  # type: ignore[arg-type]
        return Experience(rollout, self.advantages[index, :width], self.returns[index, :width])

    def masked(self) -> "Experience":
        """The same rows, of which no token counts."""
        batch = self.rollout.batch
        silent = SequenceBatch(batch.input_ids, batch.prompt_lengths, torch.zeros_like(batch.response_mask))
        return replace(self, rollout=replace(self.rollout, batch=silent))


@torch.no_grad()
def collect(
    prompts: Sequence[Sequence[int]],
    replies: Replies,
    raw_scores: Float[Tensor, "B"],
    *,
    policy: GPT,
    reference: GPT,
    value_model: ScalarGPT | None,
    sampling: Sampling,
    unended_score: float,
    pad_id: int,
) -> Rollout:
    """What policy, reference and value network say of sampled replies.

    Log-probabilities come from the very function that the update uses. A reply that does not end gets a fixed score
    (Ziegler et al. 2019). A token that rounding put outside of the sampler's set is in it: it was drawn.
    """
    batch = as_batch(prompts, replies, pad_id=pad_id)
    shape, device = batch.response_mask.shape, batch.input_ids.device
    figures = {name: torch.zeros(shape, device=device) for name in PER_TOKEN}
    kept: Tensor | None = None
    for places, ids, own, other in _token_logits(batch, policy, reference):
        found, may_draw = _token_figures(ids, own, other, sampling)
        for name, values in found.items():
            figures[name].view(-1)[places] = values
        if may_draw is not None:
            if kept is None:
                kept = torch.ones(*shape, may_draw.shape[-1], dtype=torch.bool, device=device)
            kept.flatten(0, 1)[places] = may_draw
    return Rollout(
        batch=batch,
        kept=kept,
        **figures,
        old_values=torch.zeros(shape, device=device) if value_model is None else response_values(value_model, batch),
        raw_scores=raw_scores,
        scores=torch.where(replies.ended, raw_scores, torch.full_like(raw_scores, unended_score)),
        ended=replies.ended,
    )


def _token_logits(batch: SequenceBatch, policy: GPT, reference: GPT) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Some reply tokens at a time: their places in B x R, their ids, and the logits of policy and reference, [M, V]."""
    at_once = max(1, LOGITS // policy.config.vocab_size)
    for part, other in zip(reply_states(policy, batch), reply_states(reference, batch), strict=True):
        both = (part.places, part.ids, part.predicting, other.predicting)
        for places, ids, states, reference_states in zip(*(torch.split(each, at_once) for each in both), strict=True):
            yield places, ids, policy.logits(states), reference.logits(reference_states)


def _token_figures(
    ids: Tensor, logits: Tensor, reference_logits: Tensor, sampling: Sampling
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Figures of each token, [M], by their names in `Rollout`; and what the sampler could draw, [M, V].

    From the ids and from what policy and reference say at their places, [M, V].
    """
    kept = candidates(logits, sampling)
    if kept is not None:
        kept = kept.scatter(-1, ids[..., None], True)
    own = scaled_logits(logits, sampling, kept).log_softmax(-1)
    other = scaled_logits(reference_logits, sampling, kept).log_softmax(-1)
    figures = {  # the update finds the first by `target_losses`, whose softmax is of the same logits
        "old_logprobs": own.gather(-1, ids[..., None])[..., 0],
        "reference_logprobs": other.gather(-1, ids[..., None])[..., 0],
        "exact_kl": exact_kl(own, other),
        "entropy": token_entropy(own),
    }
    return figures, kept


def as_batch(prompts: Sequence[Sequence[int]], replies: Replies, *, pad_id: int) -> SequenceBatch:
    """Prompts and sampled replies as one batch: the ids that were sampled, never text encoded anew."""
    ids = [row[mask].tolist() for row, mask in zip(replies.response_ids, replies.response_mask, strict=True)]
    return pack([list(prompt) for prompt in prompts], ids, pad_id=pad_id).to(replies.ended.device)


def compute_advantages(rollout: Rollout, params: "Ppo", *, kl_coef: float, total: Total = alone) -> Experience:
    """Advantages and returns of a rollout, by the algorithm of `params`; whitening is over all processes.

    Without a value network the advantage of a reply's tokens is that of the whole reply, whose return is its score
    less kl_coef times its KL. Differences to GRPO's paper: the KL is in the return, not in the loss.
    """
    mask, algorithm = rollout.batch.response_mask, params.algorithm
    scores = rollout.scores
    if params.whiten_rewards:
        scores = whiten(scores, torch.ones_like(scores, dtype=torch.bool), shift_mean=False, total=total)
    penalty = penalised_kl(rollout, params.kl_estimator)
    if algorithm.kind == "ppo":
        rewards = shaped_rewards(scores, penalty, mask, kl_coef=kl_coef)
        gae = generalized_advantages(
            rewards, rollout.old_values, mask, discount=algorithm.discount, gae_lambda=algorithm.gae_lambda
        )
        return Experience(rollout, whiten(gae.advantages, mask, total=total), gae.returns)
    returns = scores - kl_coef * penalty.sum(dim=1)
    baseline = group_normalized_advantages if algorithm.kind == "grpo" else leave_one_out_advantages
    advantages = baseline(returns, group_size=algorithm.replies_per_prompt)
    return Experience(rollout, advantages[:, None] * mask, returns[:, None] * mask)


def penalised_kl(rollout: Rollout, estimator: str) -> Float[Tensor, "B R"]:
    """The KL of each sampled token as the penalty counts it, 0 where masked."""
    if estimator == "exact":
        return rollout.exact_kl
    function = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}[estimator]
    return function(rollout.old_logprobs, rollout.reference_logprobs) * rollout.batch.response_mask


def rollout_figures(experience: Experience, total: Total = alone) -> dict[str, float]:
    """What to watch of a rollout, over all processes and real tokens only; docs/metrics.md defines each."""
    rollout, mask = experience.rollout, experience.rollout.batch.response_mask
    tokens, replies = total(mask.sum()), total(torch.tensor(len(mask), device=mask.device))

    def per_token(values: Tensor) -> Tensor:
        return total((values * mask).sum()) / tokens

    def per_reply(values: Tensor) -> Tensor:
        return total(values.float().sum()) / replies

    own, reference = rollout.old_logprobs * mask, rollout.reference_logprobs * mask
    mean_return = per_token(experience.returns)
    spread = per_token((experience.returns - mean_return) ** 2).clamp(min=1e-8)
    mean_score = per_reply(rollout.scores)
    figures = {
        "score": mean_score,
        "reward_source_score": per_reply(rollout.raw_scores),
        "score_std": per_reply((rollout.scores - mean_score) ** 2).sqrt(),
        "kl_per_reply": per_reply(kl_k1(own, reference).sum(dim=1)),
        "kl_k1_per_token": per_token(kl_k1(own, reference)),
        "kl_k2_per_token": per_token(kl_k2(own, reference)),
        "kl_k3_per_token": per_token(kl_k3(own, reference)),
        "kl_exact_per_token": per_token(rollout.exact_kl),
        "kl_exact_per_reply": per_reply((rollout.exact_kl * mask).sum(dim=1)),
        "entropy": per_token(rollout.entropy),
        "response_tokens": tokens / replies,
        "ended_share": per_reply(rollout.ended),
        "truncated_share": 1 - per_reply(rollout.ended),
        "distinct_2": per_reply(distinct_bigrams(rollout.batch)),
        "explained_variance": 1 - per_token((experience.returns - rollout.old_values) ** 2) / spread,
    }
    return {f"rollout/{name}": float(value) for name, value in figures.items()}


def distinct_bigrams(batch: SequenceBatch) -> Float[Tensor, "B"]:
    """For each row the share of this batch's token pairs in it that no row before it has said; 1 for short ones.

    Its mean falls to nearly 0 when all replies become the same, or one reply repeats itself.
    """
    seen: set[tuple[int, int]] = set()
    shares = []
    for ids, mask in zip(batch.response_ids.tolist(), batch.response_mask.tolist(), strict=True):
        said = [token for token, real in zip(ids, mask, strict=True) if real]
        pairs = list(pairwise(said))
        shares.append(len(set(pairs) - seen) / len(pairs) if pairs else 1.0)
        seen |= set(pairs)
    return torch.tensor(shares, device=batch.input_ids.device)
