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
# Up to so many ids a cumulative sum costs about what the operations do that would spare it: 40 us less of one row, 90
# more of 64, whose step takes milliseconds.
FEW_IDS = 4096


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

    torch.multinomial would draw V numbers a row, which was 40 % of sampling time on a CPU. A cumulative sum goes one by
    one, without vector units: of a large vocabulary the id's block of `BLOCK` ids is found first, then the id in it.
    """
    mass, share = logits.softmax(dim=-1), uniform[:, None]
    vocabulary = mass.shape[-1]
    if vocabulary <= FEW_IDS:
        return _invert(mass, share)[2][:, 0]
    mass = F.pad(mass, (0, -vocabulary % BLOCK)).view(len(mass), -1, BLOCK)
    blocks = mass.sum(dim=-1)
    point, cumulative, block = _invert(blocks, share)
    left = (point - cumulative.gather(1, block) + blocks.gather(1, block)).clamp(min=0)
    inside = mass[torch.arange(len(mass), device=mass.device), block[:, 0]]
    _, _, place = _invert(inside, left / inside.sum(dim=-1, keepdim=True))
    return (block * BLOCK + place)[:, 0]


def _invert(mass: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A share, [B, 1], of all the mass of each row, [B, N]; the cumulative sum of it; the first place that exceeds it.

    That place has mass of its own: never one that was cut.
    """
    cumulative = mass.cumsum(dim=-1)
    total = cumulative[:, -1:]
    point = torch.minimum(share * total, total * (1 - 1e-6))
    return point, cumulative, torch.searchsorted(cumulative, point, right=True)


def padded(rows: Sequence[Sequence[int]], pad_id: int = 0) -> Int[Tensor, "B T"]:
    """Ids as rows of one length, with padding behind them."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in rows], dtype=torch.long)


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
        self.uniform: list[list[float]] = []
        self.steps: list[int] = []  # tokens that each row has drawn
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
        device = self.hidden.device
        distinct = list(dict.fromkeys(map(tuple, prompts)))
        place = {prompt: row for row, prompt in enumerate(distinct)}
        source, lengths = [place[tuple(prompt)] for prompt in prompts], [len(prompt) for prompt in distinct]
        self.cache.admit(lengths, source)
        hidden = self.model(padded(distinct).to(device), self.cache)[source, [lengths[row] - 1 for row in source]]
        self.hidden = torch.cat([self.hidden.to(hidden), hidden])
        self.uniform += uniform.tolist()
        self.steps += [0] * len(prompts)

    @torch.inference_mode()
    def step(self) -> Int[Tensor, "B"]:
        """One sampled id a row."""
        self._read_drawn()
        logits = self.model.logits(self.hidden)
        if self.sampling.greedy:
            self.drawn = logits.argmax(dim=-1)
        else:
            kept = candidates(logits, self.sampling)
            due = [own[step] for own, step in zip(self.uniform, self.steps, strict=True)]
            uniform = torch.tensor(due, dtype=torch.float32, device=logits.device)
            self.drawn = draw(scaled_logits(logits, self.sampling, kept), uniform)
        self.steps = [step + 1 for step in self.steps]
        return self.drawn

    @torch.inference_mode()
    def drop(self, rows: Sequence[int]) -> list[int]:
        """End some rows, between steps: the last ones take their places. Which rows are left, in order."""
        assert self.drawn is not None
        order = self.cache.drop(rows)
        self.uniform, self.steps = [self.uniform[row] for row in order], [self.steps[row] for row in order]
        kept = torch.tensor(order, dtype=torch.long, device=self.hidden.device)
        self.hidden, self.drawn = self.hidden[kept], self.drawn[kept]
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

    Raises:
        ValueError: as in `Decoder`; or R is 0.
    """
    if not uniform.shape[1]:
        raise ValueError("no new token is asked for")
    capacity, most = max(map(len, prompts)) + uniform.shape[1], uniform.shape[1]
    slots = slots or rows_at_once(model, capacity)
    decoder = Decoder(model, prompts[:slots], sampling=sampling, uniform=uniform[:slots], capacity=capacity)
    said: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    numbers = list(range(len(decoder.steps)))  # whose reply each of the decoder's rows is
    alive, joined = [True] * len(numbers), len(numbers)
    while numbers:
        over = 0
        for row, (number, token) in enumerate(zip(numbers, decoder.step().tolist(), strict=True)):
            if alive[row]:
                said[number].append(token)
                ended[number] = token == end_id
                alive[row] = not ended[number] and len(said[number]) < most
                over += not alive[row]
        if on_ended is not None and over:
            on_ended(over)
        if max(decoder.steps) < most and sum(alive) > LEAVE_AT * len(numbers):
            continue
        left = decoder.drop([row for row, goes_on in enumerate(alive) if not goes_on])
        numbers, alive = [numbers[row] for row in left], [True] * len(left)
        if joined < len(prompts) and len(numbers) <= LEAVE_AT * slots:
            fresh = range(joined, min(len(prompts), joined + slots - len(numbers)))
            decoder.join([prompts[row] for row in fresh], uniform[list(fresh)])
            numbers, alive, joined = [*numbers, *fresh], [True] * (len(numbers) + len(fresh)), fresh.stop
    device = decoder.hidden.device
    lengths = torch.tensor([len(ids) for ids in said], device=device)
    mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]
    return Replies(padded(said, pad_id).to(device), mask, torch.tensor(ended, device=device))
