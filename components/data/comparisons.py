"""Ranked replies as token ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from components.data.chat import ChatTokenizer, EncodedChat
from components.data.demonstrations import DemonstrationRows, pad_rows
from components.data.records import Comparison, RecordError, as_chat, group_of, read_records
from components.data.sequences import SequenceBatch, pack


@dataclass(frozen=True)
class EncodedComparison:
    """A prompt's ids, its replies' ids, their ranks (1 is best), their lengths in words, and the record's group.

    A reply that ended has the end marker last, one that was cut does not.
    """

    prompt: list[int]
    replies: list[list[int]]
    ranks: tuple[int, ...]
    words: tuple[int, ...]
    group: str

    @property
    def tokens(self) -> int:
        """How many there are, the prompt's with each reply."""
        return sum(len(self.prompt) + len(reply) for reply in self.replies)


def encode_reply(tokenizer: ChatTokenizer, reply: str, *, max_tokens: int) -> list[int]:
    """Ids of a reply that somebody wrote, with the end marker where the whole of it fits into max_tokens."""
    return tokenizer.encode_reply(reply)[:max_tokens]


def encode_comparison(
    row: Comparison, tokenizer: ChatTokenizer, *, max_prompt_tokens: int, max_reply_tokens: int
) -> EncodedComparison:
    """A record as token ids: of sampled replies the ids that were sampled, of others those of their text."""
    return EncodedComparison(
        tokenizer.encode_prompt(as_chat(row.messages), max_tokens=max_prompt_tokens),
        [list(ids[:max_reply_tokens]) for ids in row.sampled]
        or [encode_reply(tokenizer, reply, max_tokens=max_reply_tokens) for reply in row.replies],
        row.ranks,
        tuple(len(reply.split()) for reply in row.replies),
        group_of(row),
    )


def load_comparisons(
    path: Path, tokenizer: ChatTokenizer, *, max_prompt_tokens: int, max_reply_tokens: int
) -> tuple[list[EncodedComparison], dict[str, int]]:
    """Read and encode a file of comparisons; and how much of it teaches nothing and was left out.

    Of replies that are the same tokens the first is kept: they can be written twice, or be made equal by the cut to
    max_reply_tokens, and a rank between them would contradict itself. A comparison whose replies all tie goes.

    Raises:
        RecordError: rows of the file break their schema, or none is left.
    """
    kept: list[EncodedComparison] = []
    dropped = {"replies_alike": 0, "comparisons_tied": 0}
    for row in read_records(path, Comparison):
        found = encode_comparison(
            row, tokenizer, max_prompt_tokens=max_prompt_tokens, max_reply_tokens=max_reply_tokens
        )
        distinct = _without_repetitions(found)
        dropped["replies_alike"] += len(found.replies) - len(distinct.replies)
        if len(set(distinct.ranks)) > 1:
            kept.append(distinct)
        else:
            dropped["comparisons_tied"] += 1
    if not kept:
        raise RecordError(
            f"{path} has nothing to learn from: in all of its {dropped['comparisons_tied']} comparisons the replies "
            "tie or are cut to the same tokens. Comparisons with a better and a worse reply are needed"
        )
    return kept, dropped


def distinct_places(comparison: EncodedComparison) -> list[int]:
    """The places of the replies that are not the same tokens as one before."""
    return [i for i, reply in enumerate(comparison.replies) if reply not in comparison.replies[:i]]


def _without_repetitions(comparison: EncodedComparison) -> EncodedComparison:
    places = distinct_places(comparison)
    return replace(
        comparison,
        replies=[comparison.replies[i] for i in places],
        ranks=tuple(comparison.ranks[i] for i in places),
        words=tuple(comparison.words[i] for i in places),
    )


def as_pairs(comparisons: Iterable[EncodedComparison]) -> list[EncodedComparison]:
    """Every untied pair of replies as a comparison of its own, the better reply first."""
    return [
        EncodedComparison(c.prompt, [c.replies[w], c.replies[l]], (1, 2), (c.words[w], c.words[l]), c.group)
        for c in comparisons
        for w in range(len(c.ranks))
        for l in range(len(c.ranks))  # noqa: E741 (winner and loser)
        if c.ranks[w] < c.ranks[l]
    ]


def as_rows(comparisons: Sequence[EncodedComparison], *, pad_id: int) -> SequenceBatch:
    """Every reply of every comparison with its prompt, one row each, in order."""
    flat = [(c.prompt, reply) for c in comparisons for reply in c.replies]
    return pack([prompt for prompt, _ in flat], [reply for _, reply in flat], pad_id=pad_id)


def rank_table(comparisons: Sequence[EncodedComparison]) -> Int[Tensor, "B K"]:
    """Ranks of every reply; 0 where a comparison has fewer than K replies."""
    ranks = torch.zeros(len(comparisons), max(len(c.ranks) for c in comparisons), dtype=torch.long)
    for row, comparison in enumerate(comparisons):
        ranks[row, : len(comparison.ranks)] = torch.tensor(comparison.ranks)
    return ranks


def best_replies(comparisons: Iterable[EncodedComparison], *, pad_id: int, width: int) -> DemonstrationRows:
    """The first-ranked replies of each prompt as rows to imitate."""
    pieces = [
        EncodedChat(c.prompt + reply, [False] * len(c.prompt) + [True] * len(reply))
        for c in comparisons
        for reply, rank in zip(c.replies, c.ranks, strict=True)
        if rank == min(c.ranks)
    ]
    return pad_rows(pieces, pad_id=pad_id, width=width)
