"""One token a row where rows differ in how they are sampled, and how likely it was."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.losses.sampling import Sampling, candidates, scaled_logits
from components.models.generation import draw


@dataclass(frozen=True)
class Likelihood:
    """Log-probability in nats of a token under softmax(logits), whatever cut or temperature it was drawn with.

    `best` are the likeliest tokens at its place with theirs, best first.
    """

    logprob: float
    best: tuple[tuple[int, float], ...] = ()


def draw_each(
    logits: Float[Tensor, "B V"], samplings: Sequence[Sampling], uniform: Float[Tensor, "B"]
) -> Int[Tensor, "B"]:
    """One id a row by its own sampling: the trainer's functions, once for each distinct one."""
    groups: dict[Sampling, list[int]] = {}
    for row, sampling in enumerate(samplings):
        groups.setdefault(sampling, []).append(row)
    if len(groups) == 1:
        return _draw(logits, samplings[0], uniform)
    drawn = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for sampling, rows in groups.items():
        chosen = torch.tensor(rows, device=logits.device)
        drawn[chosen] = _draw(logits[chosen], sampling, uniform[chosen])
    return drawn


def _draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> Tensor:
    if sampling.greedy:
        return logits.argmax(dim=-1)
    return draw(scaled_logits(logits, sampling, candidates(logits, sampling)), uniform)


def likelihoods(logits: Float[Tensor, "B V"], drawn: Int[Tensor, "B"], best: Sequence[int]) -> list[Likelihood]:
    """How likely each row's token was, and the `best[b]` likeliest ones in its place."""
    logprobs = logits.float().log_softmax(dim=-1)
    chosen = logprobs.gather(1, drawn[:, None])[:, 0].tolist()
    top = logprobs.topk(max(1, *best), dim=-1)
    return [
        Likelihood(logprob, tuple(zip(ids[:count], values[:count], strict=True)))
        for logprob, ids, values, count in zip(chosen, top.indices.tolist(), top.values.tolist(), best, strict=True)
    ]
