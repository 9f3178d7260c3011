"""Learning from rankings: the reward model's losses over a prompt's replies, and DPO's over pairs."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from components.losses.masking import Total, alone


class RankingLoss(NamedTuple):
    """The loss; how many untied pairs were ordered rightly, and how many there are."""

    loss: Float[Tensor, ""]
    correct: Int[Tensor, ""]
    pairs: Int[Tensor, ""]


def ranking_loss(scores: Float[Tensor, "B K"], ranks: Int[Tensor, "B K"], *, total: Total = alone) -> RankingLoss:
    """-1 / pairs * sum over pairs (w better than l) of log sigmoid(score_w - score_l), averaged over prompts.

    InstructGPT (arXiv:2203.02155), equation 1.

    Args:
        scores: one a reply: all C(K, 2) pairs of a prompt are one batch element.
        ranks: 1 is best, equal ranks tie and make no pair; 0 marks an absent reply.
        total: sums over the processes that share a batch; the loss is then this process's part of the mean.

    Differences: the divisor is the number of untied pairs of the prompt rather than C(K, 2); a prompt whose
    replies all tie counts nothing.
    """
    margins, better = _pairs(scores, ranks)
    pairs = better.sum(dim=(1, 2))
    per_prompt = -(F.logsigmoid(margins) * better).sum(dim=(1, 2)) / pairs.clamp(min=1)
    loss = per_prompt.sum() / total((pairs > 0).sum()).clamp(min=1)
    return RankingLoss(loss, ((margins > 0) & better).sum(), better.sum())


def pairwise_loss(
    scores: Float[Tensor, "B K"], ranks: Int[Tensor, "B K"], *, margin: float, total: Total = alone
) -> RankingLoss:
    """-log sigmoid(score_w - score_l - margin), averaged over all untied pairs of the batch.

    Bradley-Terry, each pair an example of its own; the margin is that of Llama 2 (arXiv:2307.09288, equation 2), a
    constant here. Arguments as in `ranking_loss`.
    """
    margins, better = _pairs(scores, ranks)
    loss = -(F.logsigmoid(margins - margin) * better).sum() / total(better.sum()).clamp(min=1)
    return RankingLoss(loss, ((margins > 0) & better).sum(), better.sum())


def best_of_k_loss(scores: Float[Tensor, "B K"], ranks: Int[Tensor, "B K"], *, total: Total = alone) -> RankingLoss:
    """-log softmax(scores)[best], averaged over prompts (Ziegler et al. 2019, arXiv:1909.08593, equation 1).

    Arguments as in `ranking_loss`. Differences: replies that tie for best share the target equally; a prompt whose
    replies all tie counts nothing.
    """
    margins, better = _pairs(scores, ranks)
    present = ranks > 0
    logprobs = scores.masked_fill(~present, float("-inf")).log_softmax(dim=1).masked_fill(~present, 0.0)
    best = ranks == ranks.masked_fill(~present, torch.iinfo(ranks.dtype).max).amin(dim=1, keepdim=True)
    per_prompt = -(logprobs * best).sum(dim=1) / best.sum(dim=1)
    counts = better.any(dim=2).any(dim=1)
    loss = (per_prompt * counts).sum() / total(counts.sum()).clamp(min=1)
    return RankingLoss(loss, ((margins > 0) & better).sum(), better.sum())


def implicit_rewards(
    logprobs: Float[Tensor, "*replies"], reference_logprobs: Float[Tensor, "*replies"], *, beta: float
) -> Float[Tensor, "*replies"]:
    """DPO's reward of each reply: beta * (log pi(y|x) - log pi_ref(y|x)) (arXiv:2305.18290, equation 5).

    `ranking_loss` on these is equation 7, averaged over all pairs of a prompt. Both arguments are summed over the
    reply's tokens.
    """
    return beta * (logprobs - reference_logprobs)


def _pairs(scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Score differences [B, winner, loser], and which of them are of a better reply over a worse one."""
    present = (ranks > 0)[:, :, None] & (ranks > 0)[:, None, :]
    better = (ranks[:, :, None] < ranks[:, None, :]) & present
    return scores[:, :, None] - scores[:, None, :], better
