"""What the first rows of a file become, as a table."""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from components.data.containers import endings
from components.data.files import read_file
from components.data.rows import Malformed, RawRecord, as_line
from components.data.sources.source import SourceError, readable_names

WIDTH = 120  # characters of a record's content
LAST_TURNS = 2  # of a conversation are shown


def explain(path: Path, rows: int) -> str:
    """A table of a file's first rows: each record's kind and the beginning of its content, or why a row is refused.

    Raises:
        SourceError: there is no such file, or its name ends in nothing that is read.
    """
    if not path.is_file():
        raise SourceError(f"{path} is no file")
    if not endings(path):
        raise SourceError(f"{path} is not read: its name ends in none of {readable_names()}")
    found = read_file(path, path.name, lambda position: None)
    lines = [_line(each) for each in takewhile(lambda each: each.row <= rows, found)]
    if not lines:
        return f"{path} holds no record"
    table = [("row", "becomes", "format", "content, or the reason"), *lines]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[3]]) for line in table)


def _line(found: RawRecord | Malformed) -> tuple[str, str, str, str]:
    number = str(found.row or "-")
    if isinstance(found, Malformed):
        return number, "refused", "", found.reason
    try:
        as_line(found)
    except ValueError as error:
        return number, "refused", found.format, str(error)
    left_out = f"  (not used: {'; '.join(found.notes)})" if found.notes else ""
    return number, found.kind.removesuffix("s"), found.format, _short(" | ".join(_content(found.fields))) + left_out


def _content(fields: dict[str, Any]) -> Iterator[str]:
    """A text, or the turns of a conversation and the ranked replies to it."""
    if "text" in fields:
        yield fields["text"]
    turns = fields.get("messages", ())
    if len(turns) > LAST_TURNS:
        yield f"({len(turns) - LAST_TURNS} turns)"
    share = WIDTH // max(1, len(turns[-LAST_TURNS:]) + len(fields.get("replies", ())))
    for message in turns[-LAST_TURNS:]:
        yield _short(f"{message['role']}: {message['content']}", share)
    for rank, reply in zip(fields.get("ranks", ()), fields.get("replies", ()), strict=True):
        yield _short(f"rank {rank}: {reply}", share)


def _short(text: str, width: int = WIDTH) -> str:
    line = " ".join(text.split())
    return line if len(line) <= max(width, 20) else line[: max(width, 20) - 1] + "…"
