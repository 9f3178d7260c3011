"""What a format of rows is, and what becomes of a row."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A record that a row holds: its kind, as the folder of `data/` is called, its fields, and what was left out."""

    kind: str
    fields: Row
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """Rows of one form.

    `name` is what the log calls them; `recognises` looks at the columns that are not null; `columns` are all that
    `read` looks at. `read` gives the records of a row and raises a ValueError that says what is wrong with it.
    """

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    columns: frozenset[str]
    read: Callable[[Row], Iterable[Found]]


def kind_name(value: Any) -> str:
    """A value's type in a user's words."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"of type {type(value).__name__}")
