"""Rows as sources give them, and the records that they become."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from components.data.formats.format import Format, Found, kind_name
from components.data.formats.known import recognise
from components.data.formats.turns import unread_fields
from components.data.records import Comparison, Demonstration, Document, Prompt, reason

_DUE = "has the columns of no known format (docs/data.md has a table of them)"
_OWN = frozenset(("id", "group"))
_SCHEMAS = {"documents": Document, "demonstrations": Demonstration, "prompts": Prompt, "comparisons": Comparison}


@dataclass(frozen=True)
class RawRecord:
    """A record as its source gave it: not validated yet, but with its kind and where it came from.

    `file` and `row` are the name of the file that held it and the number of its row, `format` what such rows are
    called; a source that is no file leaves them out. `notes` say what of its row is not used.
    """

    kind: str
    origin: str
    fields: dict[str, Any]
    file: str = ""
    row: int = 0
    format: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Malformed:
    """A row that cannot be used; or, where `row` is 0, a file that cannot be read to its end."""

    origin: str
    reason: str
    file: str = ""
    row: int = 0


@dataclass(frozen=True)
class Place:
    """Where a row lies: the file's path and its name (with slashes, the same on every machine), and the row's number.

    The number is from 1, or 0 where a file is one record.
    """

    path: str
    file: str
    number: int
    stem: str  # the file's name without its endings

    @property
    def origin(self) -> str:
        """File and row as a user would look them up."""
        return f"{self.path}:{self.number}" if self.number else self.path

    @property
    def row(self) -> int:
        """The row's number, 1 where a file is one record."""
        return max(self.number, 1)

    @property
    def name(self) -> str:
        """The id of a record that has none of its own."""
        return f"{self.stem}-{self.number}" if self.number else self.stem

    @property
    def group(self) -> str:
        """The group of a record that has none of its own."""
        return f"{self.file}:{self.number}" if self.number else self.file

    def refused(self, reason: str) -> Malformed:
        """The row as one that cannot be used."""
        return Malformed(self.origin, reason, self.file, self.row)


class Columns(dict[str, Any]):
    """The columns of a row; it keeps in mind which of them were read."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        super().__init__(columns)
        self.read = set(_OWN)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def as_records(row: Any, place: Place) -> Iterator[RawRecord | Malformed]:
    """The records that a row holds, in the format that its columns tell, or why there are none."""
    try:
        if not isinstance(row, dict):
            raise ValueError(f"a row is a JSON object, not {kind_name(row)}")
        given = {str(name): value for name, value in row.items() if not _is_null(value)}
        form = recognise(given)
        if form is None:
            raise ValueError(_nothing_known(row, given))
        columns = Columns(
            {name: plain(value, name) for name, value in given.items() if name in form.columns or name in _OWN}
        )
        found = list(form.read(columns))
        notes = tuple(dict.fromkeys(_unread(given, columns, form)))
    except (ValueError, RecursionError) as error:
        yield place.refused(str(error))
        return
    own = {name: str(value) if _is_number(value) else value for name, value in columns.items() if name in _OWN}
    name, group = own.get("id") or place.name, {"group": own["group"]} if own.get("group") else {}
    for number, record in enumerate(found, start=1):
        numbered = {"id": f"{name}-{number}" if len(found) > 1 else name}
        fields = numbered | {"group": place.group} | record.fields | group
        yield RawRecord(
            record.kind, place.origin, fields, place.file, place.row, form.name, _notes(record, notes, number)
        )


def _notes(record: Found, notes: tuple[str, ...], number: int) -> tuple[str, ...]:
    """What was left out of a record; what was left out of its row is said of the first one."""
    return record.notes + (notes if number == 1 else ())


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_SCHEMAS[kind])


def as_line(record: RawRecord) -> str:
    """A record as a line of JSON with sorted keys, the same on every machine.

    Raises:
        ValueError: it breaks the schema of its kind; the message says in what.
    """
    line = json.dumps(record.fields, ensure_ascii=False, sort_keys=True)
    try:
        _adapter(record.kind).validate_json(line)
    except ValidationError as error:
        raise ValueError(reason(error)) from None
    return line


def _unread(given: Mapping[str, Any], columns: Columns, form: Format) -> Iterable[str]:
    """Notes of the columns, and of the fields of messages, that nothing has read.

    Raises:
        ValueError: such a column is a list or an object with others in it, which may well be turns of a chat.
    """
    for name in sorted(given.keys() - columns.read):
        value = given[name].tolist() if hasattr(given[name], "tolist") else given[name]
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        if name not in _KNOWN_UNREAD and any(
            isinstance(item, list | dict) or hasattr(item, "tolist") for item in inner
        ):
            raise ValueError(
                f"`{name}` is {kind_name(value)} of others, and it is not known what it means in {form.name}: "
                "take the column out"
            )
        yield f"column `{name}`"
    for name, value in columns.items():
        yield from (f"field `{field}` of `{name}`" for field in unread_fields(value))


# Nested columns of published sets that hold no turns: what may be called, and what judges said.
_KNOWN_UNREAD = frozenset(("tools", "functions", "metadata", "additional_metadata", "meta", "extra"))


def _nothing_known(row: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    null = sorted(str(name) for name in row if str(name) not in given)
    return f"{_DUE}: it has {', '.join(sorted(given)) or 'none'}" + (f"; null: {', '.join(null)}" if null else "")


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # a table's missing numbers are NaN


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def plain(value: Any, where: str = "") -> Any:
    """A value of text, numbers, lists and objects as JSON would give it; fields that are null are left out.

    Raises:
        ValueError: something else is in it; the message names the field.
    """
    if isinstance(value, str):
        return _text(value, where)
    if hasattr(value, "tolist"):
        value = value.tolist()  # numpy's arrays and numbers
    if isinstance(value, dict):
        inner = {str(key): plain(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}.{number}") for number, item in enumerate(value)]
    if value is None or value != value:
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
