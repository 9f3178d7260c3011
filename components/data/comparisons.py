"""Ranked replies as token ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from components.data.chat import ChatTokenizer
from components.data.records import Comparison, as_chat, read_records
from components.data.sequences import SequenceBatch, pack


@dataclass(frozen=True)
class EncodedComparison:
    """A prompt's ids, its replies' ids with the end marker, their ranks (1 is best), and their lengths in words."""

    prompt: list[int]
    replies: list[list[int]]
    ranks: tuple[int, ...]
    words: tuple[int, ...]


def encode_reply(tokenizer: ChatTokenizer, reply: str, *, max_tokens: int) -> list[int]:
    """Ids of a reply and the end marker, max_tokens at most."""
    return [*tokenizer.encode_text(reply)[: max_tokens - 1], tokenizer.end]


def load_comparisons(
    path: Path, tokenizer: ChatTokenizer, *, max_prompt_tokens: int, max_reply_tokens: int
) -> list[EncodedComparison]:
    """Read and encode a file of comparisons.

    Raises:
        RecordError: rows of the file break their schema.
    """
    return [
        EncodedComparison(
            tokenizer.encode_prompt(as_chat(row.messages), max_tokens=max_prompt_tokens),
            [encode_reply(tokenizer, reply, max_tokens=max_reply_tokens) for reply in row.replies],
            row.ranks,
            tuple(len(reply.split()) for reply in row.replies),
        )
        for row in read_records(path, Comparison)
    ]


def as_pairs(comparisons: Iterable[EncodedComparison]) -> list[EncodedComparison]:
    """Every untied pair of replies as a comparison of its own, the better reply first."""
    return [
        EncodedComparison(c.prompt, [c.replies[w], c.replies[l]], (1, 2), (c.words[w], c.words[l]))
        for c in comparisons
        for w in range(len(c.ranks))
        for l in range(len(c.ranks))  # noqa: E741 (winner and loser)
        if c.ranks[w] < c.ranks[l]
    ]


def as_rows(comparisons: Sequence[EncodedComparison], *, pad_id: int) -> SequenceBatch:
    """Every reply of every comparison with its prompt, one row each, in order."""
    flat = [(c.prompt, reply) for c in comparisons for reply in c.replies]
    return pack([prompt for prompt, _ in flat], [reply for _, reply in flat], pad_id=pad_id)


def rank_table(comparisons: Sequence[EncodedComparison]) -> Tensor:
    """Ranks of every reply, [B, K]; 0 where a comparison has fewer than K replies."""
    ranks = torch.zeros(len(comparisons), max(len(c.ranks) for c in comparisons), dtype=torch.long)
    for row, comparison in enumerate(comparisons):
        ranks[row, : len(comparison.ranks)] = torch.tensor(comparison.ranks)
    return ranks
