"""Pairwise preferences in text or messages, as K-wise comparisons with K = 2."""

from typing import Any

from components.data.formats.format import Format, Found, Row
from components.data.formats.turns import BESIDE, Turns, before, join, turns

CONTEXTS = ("prompt", "messages", "conversations", "question", "instruction")
COLUMNS = BESIDE | {*CONTEXTS, "chosen", "rejected"}


def as_comparison(row: dict[str, Any]) -> dict[str, Any]:
    """What a row with `chosen` and `rejected` compares: `messages`, `replies` and `ranks`.

    Both are transcripts with Human/Assistant turns (hh-rlhf), replies, messages or lists of messages; beside them may
    stand what was asked (text, transcript or messages) and a `system` message. What the prompt and the lists both hold
    is kept once. Where two conversations part before their last turn, the comparison is of the first replies that
    differ.

    Raises:
        ValueError: the row has none of these forms, or its conversations part at a user's turn.
    """
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing or null")
    context = before(row, tuple(name for name in CONTEXTS if not _is_reply(row, name)))
    chosen, rejected = (join(context, turns(row[name], name, alone="assistant")) for name in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if shared >= min(len(chosen), len(rejected)):
        raise ValueError("chosen and rejected do not differ in a reply")
    replies = {"chosen": chosen[shared], "rejected": rejected[shared]}
    _check(replies, chosen[:shared])
    texts = [reply["content"] for reply in replies.values()]
    return {"messages": chosen[:shared], "replies": texts, "ranks": [1, 2]}


def _check(replies: dict[str, dict[str, Any]], context: Turns) -> None:
    if not context or any(reply.get("role") != "assistant" for reply in replies.values()):
        raise ValueError("chosen and rejected must part at the assistant's turn, after a user's")
    for name, reply in replies.items():
        if reply.keys() != {"role", "content"}:
            raise ValueError(f"the reply of {name} has the fields {', '.join(sorted(reply))}: role and content are due")


def _is_reply(row: dict[str, Any], name: str) -> bool:
    """Whether a column repeats the chosen conversation, as published sets do."""
    return isinstance(row.get(name), list) and row[name] in (row["chosen"], row["rejected"])


def read(row: Row) -> list[Found]:
    """One comparison."""
    return [Found("comparisons", as_comparison(row))]


FORMAT = Format("preferences", lambda row: "chosen" in row or "rejected" in row, COLUMNS, read)
