"""Pairwise preferences in the forms they are published in, as K-wise comparisons with K = 2."""

import re
from typing import Any

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def as_comparison(row: dict[str, Any]) -> dict[str, Any]:
    """Turn a row with `chosen` and `rejected` into a comparison record.

    Three forms are known: two transcripts with Human/Assistant turns (hh-rlhf), two replies beside a `prompt`,
    and two lists of messages, alone or beside a list of messages as `prompt`. Where two transcripts part before their
    last turn, the comparison is of the first replies that differ.

    Raises:
        ValueError: the row has none of these forms, or its transcripts part at a user's turn.
    """
    prompt = _turns(row.get("prompt", []), alone="user")
    chosen = prompt + _turns(row["chosen"], alone="assistant")
    rejected = prompt + _turns(row.get("rejected", []), alone="assistant")
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if shared >= min(len(chosen), len(rejected)):
        raise ValueError("chosen and rejected do not differ in a reply")
    good, bad = chosen[shared], rejected[shared]
    if not shared or {good["role"], bad["role"]} != {"assistant"}:
        raise ValueError("chosen and rejected must part at the assistant's turn, after a user's")
    return {
        "id": row["id"],
        "messages": chosen[:shared],
        "replies": [good["content"], bad["content"]],
        "ranks": [1, 2],
    }


def _turns(value: Any, *, alone: str) -> list[dict[str, str]]:
    """Messages of a transcript, of a message list, or of one text said by the role `alone`."""
    if isinstance(value, list):
        return [{"role": message["role"], "content": message["content"]} for message in value]
    parts = _TURN.split(value)
    if len(parts) == 1:
        return [{"role": alone, "content": value}]
    return [
        {"role": _ROLES[name], "content": text.strip()} for name, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
