"""Sampling replies with a key-value cache, many ragged prompts at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from components.losses.sampling import Sampling, candidates, scaled_logits
from components.models.cache import KeyValueCache
from components.models.transformer import GPT

# Rows that have ended leave, and prompts that wait join, once no more than this share goes on: a pass costs almost as
# much with a few rows less, and to read a few prompts almost as much as many.
LEAVE_AT = 0.875
ROWS = 256  # at most are sampled at once; more gain nothing on a CPU
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


def rows_at_once(model: GPT, capacity: int) -> int:
    """How many rows of so many tokens to sample at once: as many as a cache of moderate size holds."""
    config, weight = model.config, model.token_embedding.weight
    on_cpu, on_gpu = weight.device.type == "cpu", weight.device.type == "cuda"
    dtype = torch.get_autocast_dtype("cpu") if on_cpu and torch.is_autocast_enabled("cpu") else weight.dtype
    row = 2 * config.num_layers * config.kv_heads * config.head_size * capacity * dtype.itemsize
    # A share of the whole memory, not of what is free: how replies round must not depend on who else is there.
    room = torch.cuda.mem_get_info(weight.device)[1] // 8 if on_gpu else 3 * 2**27
    return max(1, min(ROWS if on_cpu else room, room // row))


class Decoder:
    """Replies in the making: one new token a step for every row. Rows may join and leave between steps.

    `uniform` decides each draw and how many steps a row has at most (see `uniforms`), so that what it says does not
    depend on the rows beside it.

    Raises:
        ValueError: the longest prompt and R new tokens exceed the model's context.
    """

    def __init__(
        self,
        model: GPT,
        prompts: list[list[int]],
        *,
        sampling: Sampling,
        uniform: Float[Tensor, "B R"],
        capacity: int | None = None,
    ) -> None:
        """`capacity`: tokens of the longest row that is still to join."""
        self.model, self.sampling = model, sampling
        device, config = model.token_embedding.weight.device, model.config
        new_tokens = uniform.shape[1]
        capacity = capacity or max(map(len, prompts)) + new_tokens
        if capacity > config.context_length:
            raise ValueError(
                f"a prompt of {capacity - new_tokens} tokens and {new_tokens} new ones exceed the context of "
                f"{config.context_length}"
            )
        self.cache = KeyValueCache(slots=len(prompts), capacity=capacity, num_layers=config.num_layers, device=device)
        self.uniform = torch.zeros(0, new_tokens, device=device)
        self.steps = torch.zeros(0, dtype=torch.long, device=device)  # tokens that each row has drawn
        self.hidden = torch.zeros(0, config.width, device=device)  # what predicts each row's next token
        self.drawn: Tensor | None = None  # by the step before; the model has not seen it yet
        self.join(prompts, uniform)

    @torch.inference_mode()
    def join(self, prompts: list[list[int]], uniform: Float[Tensor, "N R"]) -> None:
        """Begin with some more rows, behind those that are there; a prompt that several have is read once.

        Raises:
            ValueError: there is no room for so many.
        """
        self._read_drawn()
        device = self.steps.device
        distinct = list(dict.fromkeys(map(tuple, prompts)))
        place = {prompt: row for row, prompt in enumerate(distinct)}
        source, lengths = [place[tuple(prompt)] for prompt in prompts], [len(prompt) for prompt in distinct]
        self.cache.admit(lengths, source)
        hidden = self.model(padded(distinct).to(device), self.cache)[source, [lengths[row] - 1 for row in source]]
        self.hidden = torch.cat([self.hidden.to(hidden), hidden])
        self.uniform = torch.cat([self.uniform, uniform.to(device)])
        self.steps = torch.cat([self.steps, self.steps.new_zeros(len(prompts))])

    @torch.inference_mode()
    def step(self) -> Int[Tensor, "B"]:
        """One sampled id a row."""
        self._read_drawn()
        logits = self.model.logits(self.hidden)
        if self.sampling.greedy:
            self.drawn = logits.argmax(dim=-1)
        else:
            kept = candidates(logits, self.sampling)
            uniform = self.uniform.gather(1, self.steps[:, None])[:, 0]
            self.drawn = draw(scaled_logits(logits, self.sampling, kept), uniform)
        self.steps = self.steps + 1
        return self.drawn

    @torch.inference_mode()
    def drop(self, rows: Sequence[int]) -> list[int]:
        """End some rows, between steps: the last ones take their places. Which rows are left, in order."""
        assert self.drawn is not None
        order = self.cache.drop(rows)
        kept = torch.tensor(order, dtype=torch.long, device=self.steps.device)
        self.uniform, self.steps, self.drawn = self.uniform[kept], self.steps[kept], self.drawn[kept]
        self.hidden = self.hidden[kept]
        return order

    def _read_drawn(self) -> None:
        """Have the model see what was drawn last."""
        if self.drawn is not None and len(self.drawn):
            self.hidden = self.model(self.drawn[:, None], self.cache)[:, 0]
        self.drawn = None


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
    slots: int | None = None,
    on_ended: Callable[[int], None] | None = None,
) -> Replies:
    """Sample a reply to each prompt until its end marker or R tokens.

    Where rows end, prompts that wait take their places, so that a pass is always over many (continuous batching: Orca,
    OSDI 2022, section 4).

    Args:
        uniform: as in `Decoder`.
        slots: rows at once; by default as many as suit the model.
        on_ended: is told how many replies have ended since it was told last.
    """
    capacity, most = max(map(len, prompts)) + uniform.shape[1], uniform.shape[1]
    slots = slots or rows_at_once(model, capacity)
    decoder = Decoder(model, prompts[:slots], sampling=sampling, uniform=uniform[:slots], capacity=capacity)
    device = decoder.steps.device
    response_ids = torch.full(uniform.shape, pad_id, device=device)
    lengths = torch.zeros(len(prompts), dtype=torch.long, device=device)
    ended = torch.zeros_like(lengths, dtype=torch.bool)
    numbers = torch.arange(len(decoder.steps), device=device)  # whose reply each of the decoder's rows is
    alive, joined = torch.ones_like(numbers, dtype=torch.bool), len(numbers)
    while len(numbers):
        token, was = decoder.step(), alive
        response_ids[numbers, decoder.steps - 1] = torch.where(was, token, pad_id)
        lengths[numbers] += was
        ended[numbers] |= was & (token == end_id)
        full = decoder.steps == most
        alive = was & (token != end_id) & ~full
        going, must_leave, over = torch.stack([alive, full, was & ~alive]).sum(dim=1).tolist()
        if on_ended is not None and over:
            on_ended(over)
        if not must_leave and going > LEAVE_AT * len(numbers):
            continue
        left = decoder.drop([row for row, goes_on in enumerate(alive.tolist()) if not goes_on])
        numbers, alive = numbers[left], alive[left]
        if joined < len(prompts) and len(numbers) <= LEAVE_AT * slots:
            fresh = range(joined, min(len(prompts), joined + slots - len(numbers)))
            decoder.join([prompts[row] for row in fresh], uniform[list(fresh)])
            numbers = torch.cat([numbers, torch.tensor(fresh, device=device)])
            alive, joined = torch.ones_like(numbers, dtype=torch.bool), fresh.stop
    longest = int(lengths.max())
    mask = torch.arange(longest, device=device) < lengths[:, None]
    return Replies(response_ids[:, :longest], mask, ended)
