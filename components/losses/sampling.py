"""The distribution that a token is drawn from: one set of functions for the sampler and for the trainer.

Were they to differ, as in libraries that sample from a truncated softmax and score with the full one, the ratio of
PPO would be wrong from the first update and nothing would say so.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

GREEDY_BELOW = 1e-5  # of the temperature: logits divided by less soon leave fp32, and differ by all or nothing before


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: from softmax(logits / temperature), cut to the top_k best and to mass top_p.

    top_k = 0 and top_p = 1 cut nothing. Temperature 0 is greedy: the likeliest token, the first of equal ones. What is
    drawn then has no distribution of its own that could be scored (its KL to another model is 0 or infinite), so
    log-probabilities are those of softmax(logits), whole. Training on greedy samples is refused by the schema.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, and nothing is drawn."""
        return self.temperature < GREEDY_BELOW

    @property
    def cuts(self) -> bool:
        """Whether there may be tokens that are never drawn."""
        return not self.greedy and (self.top_k > 0 or self.top_p < 1)


def candidates(logits: Float[Tensor, "*places V"], sampling: Sampling) -> Bool[Tensor, "*places V"] | None:
    """True for the tokens that may be drawn; None where all may.

    Nucleus sampling (arXiv:1904.09751): the fewest tokens, best first, whose mass reaches top_p; after top-k.
    """
    kept: Tensor | None = None
    if not sampling.cuts:
        return kept
    if 0 < sampling.top_k < logits.shape[-1]:
        kept = logits >= logits.topk(sampling.top_k, dim=-1).values[..., -1:]
    if sampling.top_p < 1:
        ordered, order = scaled_logits(logits, sampling, kept).sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        mass_before = probabilities.cumsum(dim=-1) - probabilities
        nucleus = torch.zeros_like(mass_before, dtype=torch.bool).scatter(-1, order, mass_before < sampling.top_p)
        kept = nucleus if kept is None else kept & nucleus
    return kept


def scaled_logits(
    logits: Float[Tensor, "*places V"], sampling: Sampling, kept: Bool[Tensor, "*places V"] | None
) -> Float[Tensor, "*places V"]:
    """Logits in fp32 divided by the temperature unless it is 0, -inf outside of `kept` (of `candidates`)."""
    logits = logits.float()
    if sampling.temperature != 1 and not sampling.greedy:
        logits = logits / sampling.temperature
    return logits if kept is None else logits.masked_fill(~kept, float("-inf"))


def token_logprobs(
    logits: Float[Tensor, "*places V"],
    targets: Int[Tensor, "*places"],
    sampling: Sampling,
    kept: Bool[Tensor, "*places V"] | None = None,
) -> Float[Tensor, "*places"]:
    """Log-probability that the sampler draws each target.

    Args:
        logits: of the model that is asked.
        targets: ids that were drawn.
        sampling: the sampler's settings.
        kept: what the sampler could draw at each place; None for everything. A policy that is being
            updated, and the reference, are asked over the same tokens that the sampling policy could draw.
    """
    scaled = scaled_logits(logits, sampling, kept)
    losses = F.cross_entropy(scaled.view(-1, scaled.shape[-1]), targets.flatten(), reduction="none")
    return -losses.view_as(targets)


def token_entropy(logprobs: Float[Tensor, "*places V"]) -> Float[Tensor, "*places"]:
    """Entropy in nats of distributions given as log-probabilities; -inf is never drawn."""
    return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(logprobs.dtype).min)).sum(dim=-1)
