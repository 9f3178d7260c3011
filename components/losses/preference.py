"""The reward model's ranking loss over all pairs of a prompt's replies (InstructGPT, arXiv:2203.02155, eq. 1)."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class RankingLoss(NamedTuple):
    """Mean loss over prompts, a scalar; and over all untied pairs, how many were ordered rightly, and how many are."""

    loss: Tensor
    correct: Tensor
    pairs: Tensor


def ranking_loss(scores: Tensor, ranks: Tensor) -> RankingLoss:
    """-1 / pairs * sum over pairs (w better than l) of log sigmoid(score_w - score_l), averaged over prompts.

    Args:
        scores: one score a reply, [B, N]: all C(N, 2) pairs of a prompt are one batch element.
        ranks: 1 is best, equal ranks tie and make no pair; 0 marks an absent reply, [B, N].

    Differences: the divisor is the number of untied pairs of the prompt rather than C(N, 2); a prompt whose
    replies all tie counts nothing.
    """
    present = (ranks > 0)[:, :, None] & (ranks > 0)[:, None, :]
    better = (ranks[:, :, None] < ranks[:, None, :]) & present  # [B, winner, loser]
    margins = scores[:, :, None] - scores[:, None, :]
    pairs = better.sum(dim=(1, 2))
    per_prompt = -(F.logsigmoid(margins) * better).sum(dim=(1, 2)) / pairs.clamp(min=1)
    loss = per_prompt.sum() / (pairs > 0).sum().clamp(min=1)
    return RankingLoss(loss, ((margins > 0) & better).sum(), better.sum())
