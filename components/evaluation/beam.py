"""Beam search: the likeliest continuations of a prompt, as far as a beam of some width finds them."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from components.models.cache import KeyValueCache
from components.models.generation import padded, rows_at_once
from components.models.transformer import GPT

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Hypothesis:
    """A continuation, its log-probability in nats, and that divided by the penalty of its length."""

    ids: Ids
    logprob: float
    score: float


def penalty(length: int, alpha: float) -> float:
    """What the log-probability of so many tokens is divided by: ((5 + n) / 6)^alpha (arXiv:1609.08144, section 7)."""
    return float(((5 + length) / 6) ** alpha)


@dataclass
class Beam:
    """The search for one prompt: what is over, and what goes on with its log-probability, likeliest first."""

    width: int
    alpha: float
    most: int  # tokens
    over: Callable[[Ids], bool]
    same: Callable[[Ids], Hashable]
    going: list[tuple[Ids, float]] = field(default_factory=lambda: [((), 0.0)])
    ended: dict[Hashable, Hypothesis] = field(default_factory=dict)

    def add(self, ids: Ids, logprob: float) -> None:
        """Keep what is over; what counts as the same is as likely as all of it together."""
        own = self.same(ids)
        if (known := self.ended.get(own)) is not None:
            ids, logprob = known.ids, float(np.logaddexp(known.logprob, logprob))
        self.ended[own] = Hypothesis(ids, logprob, logprob / penalty(len(ids), self.alpha))

    @property
    def best(self) -> list[Hypothesis]:
        """What is over, best first."""
        return sorted(self.ended.values(), key=lambda own: -own.score)[: self.width]

    def widen(self, logprobs: Float[Tensor, "W V"]) -> list[int]:
        """Take one more token: of which of what went on each of what goes on now is the continuation.

        Args:
            logprobs: of the next token, a row for each that goes on.
        """
        total = logprobs + torch.tensor([own for _, own in self.going], device=logprobs.device)[:, None]
        # Twice the width, so that as many as the width go on where as many are over by one end token.
        found = total.flatten().topk(min(2 * self.width, total.numel()))
        before, sources = self.going, []
        self.going = []
        for value, place in zip(found.values.tolist(), found.indices.tolist(), strict=True):
            source, token = divmod(place, logprobs.shape[1])
            ids = (*before[source][0], token)
            if self.over(ids) or len(ids) == self.most:
                self.add(ids, value)
            elif len(self.going) < self.width:
                self.going.append((ids, value))
                sources.append(source)
        if self._is_done():
            self.going, sources = [], []
        return sources

    def _is_done(self) -> bool:
        """Whether nothing that goes on can come among the best of what is over, were all its further tokens certain."""
        if len(self.ended) < self.width or not self.going:
            return False
        return self.going[0][1] / penalty(self.most, self.alpha) <= self.best[-1].score


@torch.inference_mode()
def beam_search(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    width: int,
    max_new_tokens: int,
    over: Callable[[Ids], bool],
    same: Callable[[Ids], Hashable] = tuple,
    alpha: float = 0.0,
) -> Iterator[list[Hypothesis]]:
    """For each prompt up to `width` continuations that are over, or have max_new_tokens, best first.

    Args:
        over: whether a continuation is at its end.
        same: what tells continuations apart that are over; by default their ids.
        alpha: how much longer ones are favoured; 0: not at all, 0.6 in GPT-3 (arXiv:2005.14165, section 2.4).

    Raises:
        ValueError: the longest prompt and max_new_tokens exceed the model's context.
    """
    room = max(map(len, prompts), default=0) + max_new_tokens
    if room > model.config.context_length:
        raise ValueError(f"{room} tokens of a prompt and its continuation exceed the {model.config.context_length}")
    together = max(1, rows_at_once(model, room) // width)
    for start in range(0, len(prompts), together):
        beams = [Beam(width, alpha, max_new_tokens, over, same) for _ in prompts[start : start + together]]
        _search(model, prompts[start : start + together], beams, room)
        yield from (beam.best for beam in beams)


def _search(model: GPT, prompts: Sequence[Sequence[int]], beams: Sequence[Beam], room: int) -> None:
    """Have every beam find what it finds; a pass is over the next token of all that go on."""
    device, slots = model.token_embedding.weight.device, len(beams) * beams[0].width
    cache = KeyValueCache(slots=slots, capacity=room, num_layers=model.config.num_layers, device=device)
    cache.admit([len(prompt) for prompt in prompts], range(len(prompts)))
    hidden = model(padded(prompts).to(device), cache)
    hidden = hidden[range(len(prompts)), [len(prompt) - 1 for prompt in prompts]]
    while any(beam.going for beam in beams):
        logprobs = model.logits(hidden).float().log_softmax(dim=-1)
        sources, first = [], 0
        for beam in beams:
            rows = len(beam.going)
            if rows:
                sources += [first + row for row in beam.widen(logprobs[first : first + rows])]
            first += rows
        if not sources:
            break
        cache.take(sources)
        last = [ids[-1] for beam in beams for ids, _ in beam.going]
        hidden = model(torch.tensor(last, device=device)[:, None], cache)[:, 0]
