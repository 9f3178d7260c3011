"""Sampling replies with a key-value cache, many ragged prompts at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.losses.sampling import Sampling, candidates, scaled_logits
from components.models.cache import KeyValueCache
from components.models.transformer import GPT


@dataclass(frozen=True)
class Replies:
    """Sampled ids, [B, R], padded after the end marker; and which of them were sampled, [B, R].

    `ended`, [B], tells the rows that stopped by themselves; the end marker is then their last sampled token.
    """

    response_ids: Tensor
    response_mask: Tensor
    ended: Tensor


def uniforms(rows: int, steps: int, *, seed: tuple[int, ...]) -> Tensor:
    """A number in [0, 1) for every row and step, [rows, steps], a function of the seed alone.

    Drawn for the whole batch before sampling starts, so that a reply does not depend on the other rows, on the
    process that samples it, nor on the device.
    """
    numbers = np.random.default_rng(seed).random((rows, steps), dtype=np.float32)
    return torch.from_numpy(numbers)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """One id a row, [B], from softmax(logits), [B, V], by inverting the cumulative distribution at uniform, [B].

    torch.multinomial would draw V numbers a row, which was 40 % of sampling time on a CPU.
    """
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1:]
    # The first id whose cumulative mass exceeds the point has mass of its own: never one that was cut.
    point = torch.minimum(uniform[:, None] * total, total * (1 - 1e-6))
    return torch.searchsorted(cumulative, point, right=True)[:, 0]


@torch.no_grad()
def sample_steps(
    model: GPT,
    prompts: list[list[int]],
    *,
    sampling: Sampling,
    uniform: Tensor,
) -> Iterator[Tensor]:
    """Yield one sampled id for each prompt, [B], at every step; the caller decides when a row is done.

    `uniform`, [B, R], decides each draw and how many there are at most (see `uniforms`).

    Raises:
        ValueError: the longest prompt and R new tokens exceed the model's context.
    """
    max_new_tokens = uniform.shape[1]
    weight = model.token_embedding.weight
    uniform = uniform.to(weight.device)
    config = model.config
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=weight.device)
    longest = int(lengths.max())
    if longest + max_new_tokens > config.context_length:
        raise ValueError(
            f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed the context of {config.context_length}"
        )
    input_ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        input_ids[row, : len(prompt)] = torch.tensor(prompt)
    cache = KeyValueCache(
        batch=len(prompts),
        capacity=longest + max_new_tokens,
        num_layers=config.num_layers,
        device=weight.device,
    )
    hidden = model(input_ids.to(weight.device), cache)
    last_hidden = hidden[torch.arange(len(prompts)), lengths - 1]
    cache.advance(lengths, longest)
    for step in range(max_new_tokens):
        logits = model.logits(last_hidden)
        token = draw(scaled_logits(logits, sampling, candidates(logits, sampling)), uniform[:, step])
        yield token
        if step + 1 < max_new_tokens:
            last_hidden = model(token[:, None], cache)[:, 0]
            cache.advance(torch.ones_like(lengths), longest + step + 1)


def sample_replies(
    model: GPT,
    prompts: list[list[int]],
    *,
    sampling: Sampling,
    uniform: Tensor,
    end_id: int,
    pad_id: int,
) -> Replies:
    """Sample a reply to each prompt until its end marker or R tokens; stops early when all have ended.

    `uniform` is [B, R], as in `sample_steps`.
    """
    columns: list[Tensor] = []
    masks: list[Tensor] = []
    alive = torch.ones(len(prompts), dtype=torch.bool, device=model.token_embedding.weight.device)
    for token in sample_steps(model, prompts, sampling=sampling, uniform=uniform):
        columns.append(torch.where(alive, token, pad_id))
        masks.append(alive)
        alive = alive & (token != end_id)
        if not bool(alive.any()):
            break
    return Replies(torch.stack(columns, dim=1), torch.stack(masks, dim=1), ~alive)
