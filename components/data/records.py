"""The kinds of record that enter the platform, and reading them with every problem named.

A record is one JSON object on one line. Unknown fields are problems, so that a misspelt field is not lost.
Every record has a group: records of one group are never on both sides of a split.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

PROBLEM_LIMIT = 20
STRICT = ConfigDict(extra="forbid", strict=True)
Role = Literal["system", "user", "assistant"]
Text = Annotated[str, Field(min_length=1)]
Record = TypeVar("Record")


class RecordError(ValueError):
    """Rows of a file break their schema; the message gives file, line and reason of each, up to a limit."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Message:
    """One turn of a chat."""

    role: Role
    content: Text


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Document:
    """A text to pretrain on; of a named corpus, where several are weighed against one another."""

    id: Text
    text: Text
    group: str = ""
    corpus: str = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Demonstration:
    """A conversation to imitate: an optional system message, then user and assistant in turn, two turns or more."""

    id: Text
    messages: tuple[Message, ...]
    ratings: dict[str, int] = Field(default_factory=dict)
    group: str = ""

    @model_validator(mode="after")
    def _roles_alternate(self) -> "Demonstration":
        _check_turns(self.messages)
        if len(_without_system(self.messages)) < 2:
            raise ValueError("a demonstration has at least a user and an assistant message")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Prompt:
    """A conversation that waits for the assistant: it ends with a user message."""

    id: Text
    messages: tuple[Message, ...]
    group: str = ""

    @model_validator(mode="after")
    def _ends_with_user(self) -> "Prompt":
        _check_turns(self.messages)
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("a prompt ends with a user message")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Comparison:
    """Replies to one prompt with their ranks: 1 is best, equal ranks are ties (InstructGPT's K-wise ranking).

    Replies that our own models sampled keep their `sampled` ids, and whether each `ended` by itself: its end marker is
    then its last id. Without them a reply is the whole of its text.
    """

    id: Text
    messages: tuple[Message, ...]
    replies: Annotated[tuple[str, ...], Field(min_length=2, max_length=9)]
    ranks: tuple[Annotated[int, Field(ge=1)], ...]
    sampled: tuple[tuple[int, ...], ...] = ()
    ended: tuple[bool, ...] = ()
    group: str = ""

    @model_validator(mode="after")
    def _ranks_match(self) -> "Comparison":
        if len(self.ranks) != len(self.replies):
            raise ValueError(f"{len(self.replies)} replies have {len(self.ranks)} ranks")
        for name in ("sampled", "ended"):
            if getattr(self, name) and len(getattr(self, name)) != len(self.replies):
                raise ValueError(f"{len(self.replies)} replies have {len(getattr(self, name))} `{name}`")
        _check_turns(self.messages)
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("a comparison's messages end with a user message")
        return self


def group_of(record: Document | Demonstration | Prompt | Comparison) -> str:
    """What decides a record's split: its group, and where it was given none the record itself."""
    return record.group or record.id


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[1:] if messages and messages[0].role == "system" else messages


def _check_turns(messages: tuple[Message, ...]) -> None:
    expected = ("user", "assistant")
    for index, message in enumerate(_without_system(messages)):
        if message.role != expected[index % 2]:
            raise ValueError(f"message {index + 1} is the {message.role}'s where the {expected[index % 2]} is due")


# Building a validator costs more than validating a row.
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {
    schema: TypeAdapter(schema) for schema in (Document, Demonstration, Prompt, Comparison)
}


def read_records(path: Path, schema: type[Record]) -> Iterator[Record]:
    """Yield the valid records of a JSONL file; once it has been read, raise if any was not. Blank lines are allowed.

    Raises:
        RecordError: rows broke the schema; the message lists them, up to `PROBLEM_LIMIT`. Or the file is not UTF-8.
    """
    problems = Problems()
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from valid_rows(lines, schema, problems, path=path)
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: {not_utf8(error)}") from None
    problems.check(f"malformed {schema.__name__.lower()} row(s)")


def valid_rows(
    lines: Iterable[str], schema: type[Record], problems: "Problems", *, path: Path, first: int = 1
) -> Iterator[Record]:
    """Yield the records of lines, of which the first is number `first` of a file; the others' faults are added up."""
    adapter = _ADAPTERS[schema]
    for number, line in enumerate(lines, start=first):
        try:
            if line.strip():
                yield adapter.validate_json(line)
        except ValidationError as error:
            problems.add(f"{path}:{number}", reason(error))


class Problems:
    """Counts what is wrong with rows and keeps the first of it to show."""

    def __init__(self, count: int = 0, shown: Iterable[str] = ()) -> None:
        self.count = count
        self.shown = list(shown)

    def add(self, origin: str, reason: str) -> None:
        """Take in the reason why a row cannot be used."""
        self.count += 1
        if len(self.shown) < PROBLEM_LIMIT:
            self.shown.append(f"  {origin}: {reason}")

    def update(self, other: "Problems") -> None:
        """Take in what is wrong with rows that come after these."""
        self.count += other.count
        self.shown += other.shown[: PROBLEM_LIMIT - len(self.shown)]

    def check(self, what: str) -> None:
        """Raise if there was any.

        Raises:
            RecordError: the message lists them, up to `PROBLEM_LIMIT`.
        """
        if self.count:
            more = [f"  and {self.count - PROBLEM_LIMIT} more"] if self.count > PROBLEM_LIMIT else []
            raise RecordError("\n".join([f"{self.count} {what}:", *self.shown, *more]))


def not_utf8(error: UnicodeDecodeError) -> str:
    """What to say of text in another encoding."""
    return (
        f"not UTF-8, the encoding that is expected (byte 0x{error.object[error.start]:02x}); "
        "convert it, for instance with `iconv -f latin1 -t utf-8`"
    )


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Write records as JSON lines with sorted keys, the same bytes on every machine; the number written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for record in records:
            row = _ADAPTERS[type(record)].dump_python(record, mode="json", exclude_defaults=True)
            out.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count


def as_message(plain: dict[str, str]) -> Message:
    """The validated form of a message in plain form."""
    return Message(role=cast(Role, plain["role"]), content=plain["content"])


def as_chat(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages in the plain form that chat interfaces use."""
    return [{"role": message.role, "content": message.content} for message in messages]


def reason(error: ValidationError) -> str:
    """What a record's schema has against it, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) + ': ' if e['loc'] else ''}{e['msg'].removeprefix('Value error, ')}"
        for e in error.errors(include_url=False)
    )
