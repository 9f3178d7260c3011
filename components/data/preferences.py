"""Pairwise preferences in the forms they are published in, as K-wise comparisons with K = 2."""

import re
from typing import Any

from components.data.messages import as_messages, kind_name

_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_CONTEXTS = ("prompt", "messages", "conversations")
COLUMNS = ("id", "group", "system", *_CONTEXTS, "chosen", "rejected")

Turns = list[dict[str, Any]]


def as_comparison(row: dict[str, Any]) -> dict[str, Any]:
    """Turn a row with `chosen` and `rejected` into a comparison record.

    Both are transcripts with Human/Assistant turns (hh-rlhf), replies, messages or lists of messages; beside them may
    stand a `prompt` (text, transcript or messages, also as `messages` or `conversations`) and a `system` message. What
    the prompt and the lists both hold is kept once. Where two conversations part before their last turn, the
    comparison is of the first replies that differ.

    Raises:
        ValueError: the row has none of these forms, or its conversations part at a user's turn.
    """
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing or null")
    context = _context(row)
    chosen, rejected = (_join(context, _turns(row[name], name, alone="assistant")) for name in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if shared >= min(len(chosen), len(rejected)):
        raise ValueError("chosen and rejected do not differ in a reply")
    replies = chosen[shared], rejected[shared]
    if not shared or any(reply.get("role") != "assistant" for reply in replies):
        raise ValueError("chosen and rejected must part at the assistant's turn, after a user's")
    for name, reply in zip(("chosen", "rejected"), replies, strict=True):
        if reply.keys() != {"role", "content"}:
            raise ValueError(f"the reply of {name} has the fields {', '.join(sorted(reply))}: role and content are due")
    return {
        **{name: row[name] for name in ("id", "group") if name in row},
        "messages": chosen[:shared],
        "replies": [reply["content"] for reply in replies],
        "ranks": [1, 2],
    }


def _context(row: dict[str, Any]) -> Turns:
    """What was said before the replies."""
    given = [name for name in _CONTEXTS if name in row and not _is_reply(row, name)]
    if len(given) > 1:
        raise ValueError(f"`{given[0]}` and `{given[1]}` both say what came before the replies: keep one")
    context = _turns(row[given[0]], given[0], alone="user") if given else []
    if context and context[-1] == {"role": "assistant", "content": ""}:
        context = context[:-1]  # the cue that ends a transcript
    return _join([{"role": "system", "content": row["system"]}] if row.get("system") else [], context)


def _is_reply(row: dict[str, Any], name: str) -> bool:
    """Whether a column repeats the chosen conversation, as published sets do."""
    return isinstance(row[name], list) and row[name] in (row["chosen"], row["rejected"])


def _join(context: Turns, turns: Turns) -> Turns:
    """A conversation of its beginning and its rest, where the rest may hold the beginning, or a part of it, again."""
    (system, before), (own_system, after) = _apart(context), _apart(turns)
    if system and own_system and _said(system) != _said(own_system):
        raise ValueError("there are two different system messages")
    opens = bool(after) and after[0].get("role") == "user"
    whole = after if opens and _holds(_said(after[:-1]), _said(before)) else before + after
    return (system or own_system) + whole


def _apart(turns: Turns) -> tuple[Turns, Turns]:
    """The system message, as a list of one or none, and the other turns."""
    count = int(bool(turns) and turns[0].get("role") == "system")
    return turns[:count], turns[count:]


def _said(turns: Turns) -> list[tuple[Any, str]]:
    return [(turn.get("role"), str(turn.get("content")).strip()) for turn in turns]


def _holds(whole: list[Any], part: list[Any]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _turns(value: Any, name: str, *, alone: str) -> Turns:
    """Messages of a transcript, of a message or a list of them, or of one text said by the role `alone`."""
    if isinstance(value, str):
        return _transcript(value) if _TURN.match(value) else [{"role": alone, "content": value}]
    messages = as_messages([value] if isinstance(value, dict) else value)
    if not isinstance(messages, list):
        raise ValueError(f"`{name}` is {kind_name(value)}: text, a transcript or messages are due")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            raise ValueError(f"message {number} of `{name}` is {kind_name(message)}: an object is due")
        if missing := {"role", "content"} - message.keys():
            raise ValueError(f"message {number} of `{name}` has no {' and no '.join(sorted(missing))}")
    return messages


def _transcript(text: str) -> Turns:
    _, *parts = _TURN.split(text)
    return [
        {"role": _ROLES[name], "content": said.strip()} for name, said in zip(parts[0::2], parts[1::2], strict=True)
    ]
