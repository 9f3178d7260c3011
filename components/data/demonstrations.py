"""Demonstrations as fixed-size training rows."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from components.data.chat import ENCODED_TOGETHER, ChatTokenizer, EncodedChat
from components.data.chat_format import Messages
from components.data.records import Demonstration, RecordError, as_chat, read_records

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemonstrationRows:
    """N encoded pieces of conversations, padded: T is one more than the tokens of an input, for the last target.

    loss_mask: True on what the assistant says.
    """

    input_ids: Int[Tensor, "N T"]
    loss_mask: Bool[Tensor, "N T"]
    pad_id: int

    @property
    def trained_fraction(self) -> float:
        """Share of the real tokens that the loss covers; the first token of a row is never a target."""
        return float(self.loss_mask[:, 1:].sum() / (self.input_ids[:, 1:] != self.pad_id).sum())


def load_demonstrations(
    path: Path, tokenizer: ChatTokenizer, *, max_tokens: int, more: Iterable[Path] = ()
) -> DemonstrationRows:
    """Encode a file of demonstrations, and of others, which may be empty, into rows of max_tokens + 1.

    A long conversation is cut between turns into several rows, each opened by the user; a turn pair that is too long
    alone is cut at its end, and left out and counted where nothing of the answer remains.

    Raises:
        RecordError: rows of the file break their schema, or there are none, or none of them fits.
    """
    pieces: list[EncodedChat] = []
    too_long = 0
    chats = (as_chat(row.messages) for file in (path, *more) for row in read_records(file, Demonstration))
    while together := list(islice(chats, ENCODED_TOGETHER)):
        tokenizer.remember([message for chat in together for message in chat])
        for chat in together:
            pieces.extend(split_conversation(tokenizer, chat, max_tokens=max_tokens + 1))
            too_long += count_too_long(tokenizer, chat, max_tokens=max_tokens + 1)
    if too_long:
        logger.info("%s: %d answer(s) left out, what comes before them fills %d tokens", path, too_long, max_tokens)
    if not pieces:
        why = f"holds no answer that begins within {max_tokens} tokens" if too_long else "is empty"
        raise RecordError(f"{path} {why}: other conversations are needed; artifacts/prepare/report.md has counts")
    return pad_rows(pieces, pad_id=tokenizer.pad, width=max_tokens + 1)


def split_conversation(tokenizer: ChatTokenizer, messages: Messages, *, max_tokens: int) -> Iterator[EncodedChat]:
    """Pieces of at most max_tokens that together hold every exchange of a conversation once.

    An exchange whose answer begins beyond max_tokens is left out.
    """
    ids: list[int] = []
    mask: list[bool] = []
    for exchange in _exchanges(messages):
        encoded = tokenizer.encode_chat(exchange)
        if not any(encoded.loss_mask[:max_tokens]):
            continue
        if ids:
            following = tokenizer.encode_chat(exchange, opening=False)
            if len(ids) + len(following.input_ids) <= max_tokens:
                encoded = following
            else:
                yield EncodedChat(ids, mask)
                ids, mask = [], []
        ids, mask = ids + encoded.input_ids, mask + encoded.loss_mask
        if len(ids) > max_tokens:
            ids, mask = ids[:max_tokens], mask[:max_tokens]
    if ids:
        yield EncodedChat(ids, mask)


def count_too_long(tokenizer: ChatTokenizer, messages: Messages, *, max_tokens: int) -> int:
    """The number of a conversation's exchanges that `split_conversation` leaves out."""
    encoded = (tokenizer.encode_chat(exchange) for exchange in _exchanges(messages))
    return sum(not any(chat.loss_mask[:max_tokens]) for chat in encoded)


def _exchanges(messages: Messages) -> Iterator[Messages]:
    """Runs of messages that end with the assistant's; a trailing user message has no answer and is left out."""
    start = 0
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            yield messages[start : index + 1]
            start = index + 1


def pad_rows(pieces: Iterable[EncodedChat], *, pad_id: int, width: int) -> DemonstrationRows:
    """Right-pad encoded pieces to one width."""
    pieces = list(pieces)
    input_ids = torch.full((len(pieces), width), pad_id, dtype=torch.long)
    loss_mask = torch.zeros(len(pieces), width, dtype=torch.bool)
    for row, piece in enumerate(pieces):
        input_ids[row, : len(piece.input_ids)] = torch.tensor(piece.input_ids)
        loss_mask[row, : len(piece.loss_mask)] = torch.tensor(piece.loss_mask)
    return DemonstrationRows(input_ids, loss_mask, pad_id)
