"""Rows as files give them, told apart by their columns."""

from dataclasses import dataclass
from typing import Any

from components.data.messages import as_messages, kind_name
from components.data.preferences import COLUMNS, as_comparison

_DUE = "needs a `text`, `messages`, `conversations`, `replies` or `chosen` column"


@dataclass(frozen=True)
class RawRecord:
    """A record as its source gave it: not validated yet, but with its kind and where it came from.

    `unused` are the columns of a preference row that nothing reads.
    """

    kind: str
    origin: str
    fields: dict[str, Any]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Malformed:
    """A row, or a file, that cannot be used."""

    origin: str
    reason: str


def as_record(row: Any, *, origin: str, name: str, group: str) -> RawRecord | Malformed:
    """A row as a record of the kind that its columns tell, or why it is none.

    Args:
        row: what the file holds.
        origin: file and row as a user would look them up.
        name: the record's id if it has none of its own.
        group: the record's group if it has none of its own.
    """
    try:
        if not isinstance(row, dict):
            raise ValueError(f"a row is a JSON object, not {kind_name(row)}")
        fields = {"id": name} | plain(row)
        fields["group"] = fields.get("group") or group
        fields, unused = _preference(fields) if {"chosen", "rejected"} & fields.keys() else (_chat(fields), ())
        kind = _kind_of(fields)
        if kind is None:
            raise ValueError(_nothing_known(row))
        return RawRecord(kind, origin, fields, unused)
    except ValueError as error:
        return Malformed(origin, str(error))


def _preference(fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    unused = tuple(sorted(fields.keys() - set(COLUMNS)))
    odd = [name for name in unused if isinstance(fields[name], list | dict)]
    if odd:
        raise ValueError(
            f"`{odd[0]}` is {kind_name(fields[odd[0]])}, and it is not known what it means beside `chosen`"
        )
    return as_comparison(fields), unused


def _chat(fields: dict[str, Any]) -> dict[str, Any]:
    """A row whose messages have the fields of ours, ShareGPT's `conversations` among them."""
    if "conversations" in fields:
        if "messages" in fields:
            raise ValueError("`messages` and `conversations` both hold a chat: keep one")
        fields = {("messages" if name == "conversations" else name): value for name, value in fields.items()}
    return {name: as_messages(value) if name == "messages" else value for name, value in fields.items()}


def _nothing_known(row: dict[str, Any]) -> str:
    null = [name for name, value in row.items() if plain(value) is None]
    other = sorted(str(name) for name in row.keys() - set(null))
    return f"{_DUE}, has {', '.join(other) or 'none'}" + (f"; null: {', '.join(map(str, null))}" if null else "")


def _kind_of(fields: dict[str, Any]) -> str | None:
    if "replies" in fields:
        _check_replies(fields)
        return "comparisons"
    if "messages" in fields:
        messages = fields["messages"]
        last = messages[-1] if isinstance(messages, list) and messages else None
        return "prompts" if isinstance(last, dict) and last.get("role") == "user" else "demonstrations"
    if "text" in fields:
        return "documents"
    return None


def _check_replies(fields: dict[str, Any]) -> None:
    """Replies that are the same cannot be better than each other; what else may be wrong is the schema's to say."""
    replies, ranks = fields["replies"], fields.get("ranks")
    if not isinstance(replies, list) or not isinstance(ranks, list) or len(replies) != len(ranks):
        return
    if len(replies) > 1 and all(reply == replies[0] for reply in replies):
        raise ValueError("all replies are identical")
    first: dict[str, int] = {}
    for number, reply in enumerate(replies):
        same = first.setdefault(str(reply), number)
        if ranks[same] != ranks[number]:
            raise ValueError(f"replies {same + 1} and {number + 1} are identical and have different ranks")


def plain(value: Any, where: str = "") -> Any:
    """A value of text, numbers, lists and objects as JSON would give it; fields that are null are left out.

    Raises:
        ValueError: something else is in it; the message names the field.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()  # numpy's arrays and numbers
    if isinstance(value, dict):
        inner = {str(key): plain(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}.{number}") for number, item in enumerate(value)]
    if isinstance(value, str):
        return _text(value, where)
    if value is None or value != value:  # a table's missing numbers are NaN
        return None
    if not isinstance(value, bool | int | float):
        raise ValueError(f"`{where}` is {kind_name(value)}: only text, numbers, lists and objects are records")
    return value


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = ascii(value[error.start])
        raise ValueError(f"`{where}` holds {half}, half of a pair of surrogates, which is no character") from None
    return value
