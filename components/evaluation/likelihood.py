"""Log-likelihood of given continuations under a language model, read as EleutherAI's evaluation harness reads it.

A row is the last `context_length + 1` tokens of context and continuation, less the last: what is too long loses its
beginning. Rows that are the same tokens, as those of one question's one-token answers, go through the model once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

BATCH_TOKENS = 4096  # of a batch's rows, padding included
HEAD_ROWS = 512  # positions whose logits, each as long as the vocabulary, are in memory at once

Ids = Sequence[int]
Pair = tuple[Ids, Ids]  # context, continuation


@runtime_checkable  # the tests look at what passes for one
class LanguageModel(Protocol):
    """What is asked of a model."""

    def __call__(self, input_ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Hidden states."""

    def logits(self, hidden: Float[Tensor, "*places D"]) -> Float[Tensor, "*places V"]:
        """Next-token logits of hidden states."""


class Likelihood(NamedTuple):
    """A continuation's log-probability in nats, its tokens, and whether each of them is the likeliest at its place."""

    logprob: float
    tokens: int
    greedy: bool


def rolling_windows(ids: Ids, *, prefix_id: int, context_length: int) -> list[Pair]:
    """A text as continuations that together are the text, each with as much context as fits.

    The first is as long as the context and follows `prefix_id` alone; each further one is new text up to that length,
    and the last, being short, is preceded by what fills the context (the harness's rolling windows, made disjoint).
    """
    windows: list[Pair] = []
    if ids:
        windows.append(([prefix_id], ids[:context_length]))
    for begin in range(context_length, len(ids), context_length):
        end = min(begin + context_length, len(ids))
        windows.append((ids[end - context_length - 1 : begin], ids[begin:end]))
    return windows


@torch.inference_mode()
def likelihoods(
    model: LanguageModel,
    pairs: Sequence[Pair],
    *,
    context_length: int,
    device: torch.device | str = "cpu",
    batch_tokens: int = BATCH_TOKENS,
) -> list[Likelihood]:
    """The likelihood of each continuation given its context, in the order of the pairs.

    Raises:
        ValueError: a context or a continuation is empty, or a continuation is longer than the model's context.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for place, (context, continuation) in enumerate(pairs):
        if not context or not 0 < len(continuation) <= context_length:
            raise ValueError(
                f"pair {place + 1}: {len(context)} tokens of context and {len(continuation)} of continuation; there "
                f"must be at least one of each, and at most {context_length} of continuation"
            )
        row = (*context, *continuation)[-(context_length + 1) : -1]
        rows.setdefault(row, []).append(place)
    found: dict[int, Likelihood] = {}
    for batch in _batches(sorted(rows, key=len), batch_tokens):
        width = len(batch[-1])
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch], device=device)
        asked = [(number, place, pairs[place][1]) for number, row in enumerate(batch) for place in rows[row]]
        found |= _read(model, model(ids), [len(row) for row in batch], asked)
    return [found[place] for place in range(len(pairs))]


def _batches(rows: list[tuple[int, ...]], batch_tokens: int) -> Iterator[list[tuple[int, ...]]]:
    """Rows, shortest first, in groups of like length of at most so many tokens."""
    batch: list[tuple[int, ...]] = []
    for row in rows:
        if batch and (len(batch) + 1) * len(row) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _read(
    model: LanguageModel, hidden: Tensor, lengths: list[int], asked: list[tuple[int, int, Ids]]
) -> Iterator[tuple[int, Likelihood]]:
    """The likelihood of each of (row, place, continuation), which ends one token behind the row; by place."""
    numbers = [number for number, _, continuation in asked for _ in continuation]
    steps = [lengths[number] - len(ids) + step for number, _, ids in asked for step in range(len(ids))]
    targets = torch.tensor([target for _, _, ids in asked for target in ids], device=hidden.device)
    states = hidden[numbers, steps]
    logprobs, best = [], []
    for part in range(0, len(targets), HEAD_ROWS):
        logits = model.logits(states[part : part + HEAD_ROWS]).float()
        own = targets[part : part + HEAD_ROWS]
        logprobs.append(logits.log_softmax(dim=-1).gather(1, own[:, None])[:, 0].double())
        best.append(logits.argmax(dim=-1) == own)
    sizes = [len(ids) for _, _, ids in asked]
    parts = zip(torch.split(torch.cat(logprobs), sizes), torch.split(torch.cat(best), sizes), strict=True)
    for (_, place, ids), (logprob, hit) in zip(asked, parts, strict=True):
        yield place, Likelihood(float(logprob.sum()), len(ids), bool(hit.all()))
