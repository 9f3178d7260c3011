"""Sampling replies with a key-value cache, many ragged prompts at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from components.losses.sampling import Sampling, candidates, scaled_logits
from components.models.cache import KeyValueCache
from components.models.transformer import GPT

# Rows that have ended are dropped once no more than this share goes on: what is left of the cache is copied then.
COMPACT_AT = 0.75
BLOCK = 64  # ids


@dataclass(frozen=True)
class Replies:
    """Sampled ids, padded after the end marker; and which of them were sampled.

    `ended` tells the rows that stopped by themselves; the end marker is then their last sampled token.
    """

    response_ids: Int[Tensor, "B R"]
    response_mask: Bool[Tensor, "B R"]
    ended: Bool[Tensor, "B"]


def uniforms(rows: int, steps: int, *, seed: tuple[int, ...]) -> Float[Tensor, "{rows} {steps}"]:
    """A number in [0, 1) for every row and step, a function of the seed alone.

    Drawn for the whole batch before sampling starts, so that a reply does not depend on the other rows, on the
    process that samples it, nor on the device.
    """
    numbers = np.random.default_rng(seed).random((rows, steps), dtype=np.float32)
    return torch.from_numpy(numbers)


def draw(logits: Float[Tensor, "B V"], uniform: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """One id a row from softmax(logits), by inverting the cumulative distribution at uniform.

    torch.multinomial would draw V numbers a row, which was 40 % of sampling time on a CPU, and a sum over the whole
    vocabulary cannot use its vector units: the id's block of `BLOCK` ids is found first, then the id in it.
    """
    mass = F.pad(logits.softmax(dim=-1), (0, -logits.shape[-1] % BLOCK)).view(len(logits), -1, BLOCK)
    block, before = _invert(mass.sum(dim=-1), uniform)
    inside = mass[torch.arange(len(mass), device=mass.device), block]
    place, _ = _invert(inside, before / inside.sum(dim=-1))
    return block * BLOCK + place


def _invert(mass: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The first place of each row of mass, [B, N], where the cumulative sum exceeds a share of the whole, [B].

    It has mass of its own: never one that was cut. With it the part of the share that is left at its beginning.
    """
    cumulative = mass.cumsum(dim=-1)
    total = cumulative[:, -1:]
    point = torch.minimum(uniform[:, None] * total, total * (1 - 1e-6))
    place = torch.searchsorted(cumulative, point, right=True)
    left = point - cumulative.gather(1, place) + mass.gather(1, place)
    return place[:, 0], left[:, 0].clamp(min=0)


def padded(prompts: Sequence[Sequence[int]]) -> Int[Tensor, "N P"]:
    """Prompts as rows, with zeros behind them."""
    ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids


class Decoder:
    """Replies in the making: one new token a step for every row.

    `uniform` decides each draw and how many steps there are at most (see `uniforms`), so that what a row says
    does not depend on the rows beside it.

    Raises:
        ValueError: the longest prompt and R new tokens exceed the model's context.
    """

    @torch.inference_mode()
    def __init__(
        self, model: GPT, prompts: list[list[int]], *, sampling: Sampling, uniform: Float[Tensor, "B R"]
    ) -> None:
        self.model, self.sampling = model, sampling
        device, config = model.token_embedding.weight.device, model.config
        self.uniform = uniform.to(device)
        distinct = list(dict.fromkeys(map(tuple, prompts)))  # each is read once, however many replies it gets
        lengths, new_tokens = [len(prompt) for prompt in distinct], uniform.shape[1]
        longest = max(lengths)
        if longest + new_tokens > config.context_length:
            raise ValueError(
                f"a prompt of {longest} tokens and {new_tokens} new ones exceed the context of {config.context_length}"
            )
        place = {prompt: row for row, prompt in enumerate(distinct)}
        source = [place[tuple(prompt)] for prompt in prompts]
        self.cache = KeyValueCache(
            slots=len(prompts), capacity=longest + new_tokens, num_layers=config.num_layers, device=device
        )
        self.cache.admit(lengths, source)
        hidden = model(padded(distinct).to(device), self.cache)
        self.last_hidden = hidden[source, [lengths[row] - 1 for row in source]]
        self.steps = 0
        self.drawn: Tensor | None = None  # by the step before; the model has not seen it yet

    @torch.inference_mode()
    def step(self) -> Int[Tensor, "B"]:
        """One sampled id a row."""
        if self.drawn is not None:
            self.last_hidden = self.model(self.drawn[:, None], self.cache)[:, 0]
        logits = self.model.logits(self.last_hidden)
        if self.sampling.greedy:
            self.drawn = logits.argmax(dim=-1)
        else:
            kept = candidates(logits, self.sampling)
            self.drawn = draw(scaled_logits(logits, self.sampling, kept), self.uniform[:, self.steps])
        self.steps += 1
        return self.drawn

    @torch.inference_mode()
    def keep(self, rows: Int[Tensor, "N"] | Bool[Tensor, "B"]) -> None:
        """Go on with some rows alone."""
        assert self.drawn is not None
        self.uniform, self.drawn = self.uniform[rows], self.drawn[rows]
        self.cache.keep(rows)


def sample_steps(
    model: GPT, prompts: list[list[int]], *, sampling: Sampling, uniform: Float[Tensor, "B R"]
) -> Iterator[Int[Tensor, "B"]]:
    """Yield one sampled id for each prompt, R times; the caller decides when a row is done. As in `Decoder`."""
    decoder = Decoder(model, prompts, sampling=sampling, uniform=uniform)
    for _ in range(uniform.shape[1]):
        yield decoder.step()


def sample_replies(
    model: GPT,
    prompts: list[list[int]],
    *,
    sampling: Sampling,
    uniform: Float[Tensor, "B R"],
    end_id: int,
    pad_id: int,
) -> Replies:
    """Sample a reply to each prompt until its end marker or R tokens; rows that have ended cost nothing for long.

    `uniform` as in `Decoder`.
    """
    decoder = Decoder(model, prompts, sampling=sampling, uniform=uniform)
    response_ids = torch.full(uniform.shape, pad_id, device=decoder.uniform.device)
    response_mask = torch.zeros_like(response_ids, dtype=torch.bool)
    rows = torch.arange(len(prompts), device=response_ids.device)  # the places of those that the decoder still has
    alive = torch.ones_like(rows, dtype=torch.bool)
    for step in range(uniform.shape[1]):
        token = decoder.step()
        response_ids[rows, step] = torch.where(alive, token, pad_id)
        response_mask[rows, step] = alive
        alive = alive & (token != end_id)
        going = int(alive.sum())
        if not going:
            break
        if going <= COMPACT_AT * len(rows) and step + 1 < uniform.shape[1]:
            decoder.keep(alive)
            rows, alive = rows[alive], alive[alive]
    ended = torch.ones(len(prompts), dtype=torch.bool, device=rows.device)
    ended[rows[alive]] = False
    return Replies(response_ids[:, : step + 1], response_mask[:, : step + 1], ended)
