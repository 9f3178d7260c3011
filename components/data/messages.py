"""Messages in the forms they are published in, as role and content."""

from typing import Any

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def as_messages(value: Any) -> Any:
    """Messages with ShareGPT's `from` and `value` as ones with `role` and `content`.

    All else is left as it is, unknown speakers too: the schema of the record names what is wrong with it.
    """
    return [_as_message(item) for item in value] if isinstance(value, list) else value


def _as_message(item: Any) -> Any:
    if not isinstance(item, dict) or not {"from", "value"} <= item.keys() or {"role", "content"} & item.keys():
        return item
    rest = {key: value for key, value in item.items() if key not in ("from", "value")}
    return {"role": _SPEAKERS.get(str(item["from"]), item["from"]), "content": item["value"], **rest}


def kind_name(value: Any) -> str:
    """A value's type in a user's words."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"of type {type(value).__name__}")
