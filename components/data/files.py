"""Files of raw records, whatever their format, read a part at a time."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from components.data.records import not_utf8
from components.data.rows import Malformed, RawRecord, as_record

TEXT_SUFFIXES = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")  # these also as .gz
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
# A document that is cut out of a long text, in characters: it ends with the first paragraph beyond the shortest.
SHORTEST, LONGEST = 2000, 4000
BLOCK = 1 << 16  # characters
ROWS_AT_ONCE = 256
LARGEST_CELL = 1 << 30  # characters of a table's cell; csv stops at 131,072 if not told

Row = tuple[int, Any]  # its number, from 1, and what it holds; or why it cannot be read


def format_of(path: Path | PurePosixPath) -> str | None:
    """A file's format as the ending that stands for it, or None where it is not read. Case does not matter."""
    name = path.name.lower()
    packed = name.endswith(".gz")
    suffix = PurePosixPath(name.removesuffix(".gz")).suffix
    return suffix if suffix in (TEXT_SUFFIXES if packed else SUFFIXES) else None


def read_file(path: Path, name: str, told: Callable[[int], None]) -> Iterator[RawRecord | Malformed]:
    """The records of a file, malformed rows among them; memory does not grow with it, but with a `.json` file's.

    Args:
        path: the file; `format_of` knows its format.
        name: what it is called in ids and groups, with slashes: the same on every machine.
        told: called now and then with the number of bytes that have been read.
    """
    stem = _stem(name)
    with path.open("rb") as raw:
        try:
            for number, row in _rows(path, raw):
                if number % ROWS_AT_ONCE == 0:
                    told(raw.tell())
                if isinstance(row, Malformed):
                    yield row
                    continue
                named = {"name": f"{stem}-{number}", "group": f"{name}:{number}"} if number else _alone(stem, name)
                yield as_record(row, origin=f"{path}:{number}" if number else str(path), **named)
        except UnicodeDecodeError as error:
            yield Malformed(str(path), not_utf8(error))
        except (ValueError, EOFError, OSError, zlib.error, csv.Error, RecursionError) as error:
            yield Malformed(str(path), f"cannot be read: {error}")


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    while path.suffix.lower() in (*SUFFIXES, ".gz"):
        path = path.with_suffix("")
    return str(path)


def _alone(stem: str, name: str) -> dict[str, str]:
    return {"name": stem, "group": name}


def _rows(path: Path, raw: IO[bytes]) -> Iterator[Row]:
    suffix = format_of(path)
    if suffix == ".parquet":
        yield from _parquet_rows(raw)
        return
    unpacked = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
    newline = "" if suffix in (".csv", ".tsv") else None
    with io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline=newline) as text:  # type: ignore[arg-type]
        match suffix:
            case ".txt":
                yield from _documents(text)
            case ".json":
                yield from _json_rows(path, text.read())
            case ".csv" | ".tsv":
                yield from _table_rows(path, text, "," if suffix == ".csv" else "\t")
            case _:
                yield from _json_lines(path, text)


def _documents(text: IO[str]) -> Iterator[Row]:
    """A text as documents, numbered from 1, or from 0 where there is but one."""
    pieces = cut_text(iter(lambda: text.read(BLOCK), ""))
    first = next(pieces, None)
    second = next(pieces, None)
    if first is not None:
        yield (0 if second is None else 1), {"text": first}
    if second is not None:
        yield 2, {"text": second}
    yield from ((number, {"text": piece}) for number, piece in enumerate(pieces, start=3))


def cut_text(blocks: Iterable[str]) -> Iterator[str]:
    """Cut a text that comes in blocks into pieces of at most `LONGEST` characters, between paragraphs or lines.

    Pieces put together are the text; those of blanks alone are left out.
    """
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > LONGEST:
            end = start + _boundary(rest[start : start + LONGEST])
            if rest[start:end].strip():
                yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest.strip():
        yield rest


def _boundary(text: str) -> int:
    """Where to cut: the first end of a paragraph in the second half, else the last end of a line, else of a word."""
    paragraph = text.find("\n\n", SHORTEST)
    if paragraph >= 0:
        return paragraph + 2
    for mark in ("\n", " "):
        found = text.rfind(mark, SHORTEST)
        if found >= 0:
            return found + 1
    return len(text)


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, Malformed(f"{path}:{number}", f"not JSON: {error}")


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    """The rows of a JSON array, of one object, or of objects one a line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            yield 1, Malformed(f"{path}:{error.lineno}", f"not JSON: {error}")
        else:
            yield from _json_lines(path, io.StringIO(text))
        return
    yield from enumerate(value if isinstance(value, list) else [value], start=1)


def _table_rows(path: Path, text: IO[str], delimiter: str) -> Iterator[Row]:
    """Rows of a table by the names in its first line; an empty cell is absent."""
    csv.field_size_limit(LARGEST_CELL)
    for number, row in enumerate(csv.DictReader(text, delimiter=delimiter, strict=True), start=1):
        if None in row:
            yield number, Malformed(f"{path}:{number}", "the row has more cells than the first line has names")
        else:
            yield number, {name: cell for name, cell in row.items() if cell}


def _parquet_rows(raw: IO[bytes]) -> Iterator[Row]:
    import pyarrow.parquet as pq  # noqa: PLC0415 (half a second that other files need not cost)

    number = 0
    for batch in pq.ParquetFile(raw).iter_batches(batch_size=ROWS_AT_ONCE):
        for row in batch.to_pylist():
            number += 1
            yield number, row
