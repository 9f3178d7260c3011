"""Messages in the forms they are published in, as role and content."""

import re
from collections.abc import Iterable
from typing import Any

from components.data.formats.format import kind_name

_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant): ?")
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_TOOLS = {"tool", "function", "ipython", "observation", "function_call", "tool_call", "tool_response", "tool_calls"}
_FIELDS, _OURS = {"role", "content"}, ("system", "user", "assistant")
_PAIR = ("user", "assistant")
_CONTINUED = ("instruction", "question", "query")
BESIDE = frozenset(("system", "system_prompt", "history", "input", "context"))  # what `before` reads besides
_NOT_TO_LEARN = ("weight", "train", "loss")  # by which some sets mark a reply as context

Turns = list[dict[str, Any]]


def turns(value: Any, name: str, *, alone: str) -> Turns:
    """Messages of a transcript, of a message or a list of them, or of one text said by the role `alone`.

    Fields of text or numbers beside role and content are left out; what else a message holds stays in it, for the
    schema of the record to refuse. System messages at the beginning are joined.

    Raises:
        ValueError: these are no messages, or a tool speaks; the message says which.
    """
    if isinstance(value, str):
        return transcript(value) if is_transcript(value) else [{"role": alone, "content": value}]
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise ValueError(f"`{name}` is {kind_name(value)}: text, a transcript or messages are due")
    return _with_one_system([_message(item, f"message {number} of `{name}`") for number, item in enumerate(items, 1)])


def _message(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is {kind_name(item)}: an object is due")
    if item.keys() == _FIELDS and item["role"] in _OURS and isinstance(item["content"], str):
        return item  # most are
    said_by, said = ("from", "value") if {"from", "value"} <= item.keys() else ("role", "content")
    role = str(item.get(said_by, "")).strip().lower()
    if role in _TOOLS or any(item[key] for key in _TOOLS & item.keys()):
        raise ValueError(
            f"{where} calls a tool or is one's answer; there are no tools here, and a reply that rests on what nobody "
            "sees would teach to make things up"
        )
    if missing := [key for key in (said_by, said) if key not in item]:
        raise ValueError(f"{where} has no {' and no '.join(missing)}")
    if any(item.get(key) in (0, False) for key in _NOT_TO_LEARN if key in item):
        raise ValueError(f"{where} is marked as one that is not to be learned; every reply of a conversation is here")
    rest = {key: part for key, part in item.items() if isinstance(part, list | dict) and part}
    return {**rest, "role": _ROLES.get(role, item[said_by]), "content": _content(item[said], where)}


def _content(value: Any, where: str) -> Any:
    """Text; of a list of parts, the text of all of them."""
    if not isinstance(value, list):
        return value
    for part in value:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else kind_name(part)
            raise ValueError(f"{where} holds a part that is {kind}: only text can be learned")
    return "".join(part["text"] for part in value)


def _with_one_system(messages: Turns) -> Turns:
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    if count < 2 or not all(isinstance(message["content"], str) for message in messages[:count]):
        return messages
    joined = "\n\n".join(message["content"] for message in messages[:count])
    return [{"role": "system", "content": joined}, *messages[count:]]


def unread_fields(value: Any) -> Iterable[str]:
    """Names of the fields of messages that `turns` leaves out."""
    items = [value] if isinstance(value, dict) else value
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict) or item.keys() == _FIELDS:
            continue
        read = {"from", "value"} if {"from", "value"} <= item.keys() else _FIELDS
        if read <= item.keys():
            yield from (key for key, part in item.items() if key not in read and not isinstance(part, list | dict))


def is_transcript(text: str) -> bool:
    """Whether a text begins as hh-rlhf's conversations do."""
    return _TURN.match(text) is not None


def transcript(text: str) -> Turns:
    """The turns of a conversation with `Human:` and `Assistant:` before them."""
    _, *parts = _TURN.split(text)
    return [
        {"role": _ROLES[name.lower()], "content": said.strip()}
        for name, said in zip(parts[0::2], parts[1::2], strict=True)
    ]


def before(row: dict[str, Any], names: tuple[str, ...]) -> Turns:
    """What was said before the replies: one of the columns, after a `system` message and a `history`.

    The text of an instruction, a question or a query goes on with that of `input` or `context`. A `history` is pairs of
    what was asked and said.
    """
    given = [name for name in names if name in row]
    if len(given) > 1:
        raise ValueError(f"`{given[0]}` and `{given[1]}` both say what came before the replies: keep one")
    value = row[given[0]] if given else []
    if given and given[0] in _CONTINUED and isinstance(value, str):
        value = _continued(value, row)
    system = next((row[name] for name in ("system", "system_prompt") if row.get(name)), None)
    opening = [{"role": "system", "content": system}] if system else []
    asked = turns(value, given[0], alone="user") if given else []
    if isinstance(value, str) and asked[-1] == {"role": "assistant", "content": ""}:
        asked = asked[:-1]  # the cue that ends a transcript
    past = _history(row.get("history", []))
    return join(opening, [*past, *asked]) if opening or past else asked


def _continued(text: str, row: dict[str, Any]) -> str:
    more = {name: row[name] for name in ("input", "context") if row.get(name)}
    for name, value in more.items():
        if not isinstance(value, str):
            raise ValueError(f"`{name}` is {kind_name(value)}: text is due")
    return "\n\n".join(part for part in (text, *more.values()) if part)


def _history(pairs: Any) -> Turns:
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError("`history` is no list of pairs of what was asked and said")
    return [{"role": role, "content": text} for pair in pairs for role, text in zip(_PAIR, pair, strict=True)]


def join(context: Turns, rest: Turns) -> Turns:
    """A conversation of its beginning and its rest, where the rest may hold the beginning, or a part of it, again."""
    (system, first), (own_system, after) = _apart(context), _apart(rest)
    if system and own_system and _said(system) != _said(own_system):
        raise ValueError("there are two different system messages")
    opens = bool(after) and after[0].get("role") == "user"
    whole = after if opens and _holds(_said(after[:-1]), _said(first)) else first + after
    return (system or own_system) + whole


def _apart(messages: Turns) -> tuple[Turns, Turns]:
    """The system message, as a list of one or none, and the other turns."""
    count = int(bool(messages) and messages[0].get("role") == "system")
    return messages[:count], messages[count:]


def _said(messages: Turns) -> list[tuple[Any, str]]:
    return [(turn.get("role"), str(turn.get("content")).strip()) for turn in messages]


def _holds(whole: list[Any], part: list[Any]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))
