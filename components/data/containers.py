"""What holds rows: texts, JSON, tables and Parquet, plain or packed, read a part at a time."""

import csv
import gzip
import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Any

from components.data.formats.known import COLUMNS
from components.data.texts import cut_text

SUFFIXES = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst")  # each of them also in one of these
ROWS_AT_ONCE = 256
BLOCK = 1 << 16  # characters
LARGEST_CELL = 1 << 30  # characters of a table's cell; csv stops at 131,072 if not told
FLAT_LISTS = ("replies", "ranks", "scores")  # columns whose lists hold no objects

Row = tuple[int, Any]  # its number, from 1, or 0 where a file is one record; and what it holds


class BadRow(ValueError):
    """What stands in a row's place where it cannot be read, with the reason."""


def endings(path: Path | PurePosixPath) -> tuple[str, str] | None:
    """What a file holds and how it is packed, as the endings that stand for them; None where it is not read."""
    name = path.name.lower()
    packed = next((ending for ending in PACKED if name.endswith(ending)), "")
    suffix = PurePosixPath(name.removesuffix(packed)).suffix
    return (suffix, packed) if suffix in SUFFIXES else None


def stem(name: str) -> str:
    """A file's name without the endings that say what it holds."""
    path = PurePosixPath(name)
    while path.suffix.lower() in (*SUFFIXES, *PACKED):
        path = path.with_suffix("")
    return str(path)


def rows(path: Path, raw: IO[bytes]) -> Iterator[Row]:
    """The rows of an open file; one that cannot be read is a `BadRow`.

    Raises:
        Exception: whatever its decoder raises where the file cannot be read to its end.
    """
    suffix, packed = endings(path) or ("", "")
    with _unpacked(raw, packed) as content:
        if suffix == ".parquet":
            yield from _parquet_rows(content, packed)
            return
        newline = "" if suffix in (".csv", ".tsv") else None
        with io.TextIOWrapper(content, encoding="utf-8-sig", newline=newline) as text:  # type: ignore[arg-type]
            match suffix:
                case ".txt":
                    yield from _documents(text)
                case ".json":
                    yield from _json_rows(text.read())
                case ".csv" | ".tsv":
                    yield from _table_rows(text, "," if suffix == ".csv" else "\t")
                case _:
                    yield from _json_lines(text)


@contextmanager
def _unpacked(raw: IO[bytes], packed: str) -> Iterator[Any]:
    if packed == ".gz":
        with gzip.GzipFile(fileobj=raw) as content:
            yield content
    elif packed == ".zst":
        import pyarrow as pa  # noqa: PLC0415 (half a second that other files need not cost)

        with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as content:
            yield content
    else:
        yield raw


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


def _json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, BadRow(f"not JSON: {error}")


def _json_rows(text: str) -> Iterator[Row]:
    """The rows of a JSON array, of one object, or of objects one a line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("["):
            raise ValueError(f"not JSON: {error}") from None
        yield from _json_lines(io.StringIO(text))
        return
    yield from enumerate(value if isinstance(value, list) else [value], start=1)


def _table_rows(text: IO[str], delimiter: str) -> Iterator[Row]:
    """Rows of a table by the names in its first line; an empty cell is absent.

    Raises:
        ValueError: the first line names a column twice, or none that is known.
    """
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.DictReader(text, delimiter=delimiter, strict=True)
    names = reader.fieldnames or []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the first line has the name `{twice[0]}` twice")
    if names and not COLUMNS & set(names):
        raise ValueError(
            "the first line, which gives the columns their names, has none that is known, such as text or prompt: "
            f"{', '.join(names)[:80]!r}. Put a line with names before it"
        )
    for number, row in enumerate(reader, start=1):
        if None in row:
            yield number, BadRow("the row has more cells than the first line has names")
        else:
            yield number, {name: _cell(name, cell) for name, cell in row.items() if cell}


def _cell(name: str, text: str) -> Any:
    """A cell's text; or what it is the JSON of: a list of objects, or in some columns any list."""
    if text.lstrip()[:1] != "[":
        return text
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text
    return value if name in FLAT_LISTS or (value and all(isinstance(item, dict) for item in value)) else text


def _parquet_rows(content: IO[bytes], packed: str) -> Iterator[Row]:
    """Rows of a Parquet file, which is read from its end: a packed one is unpacked to the disk first."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    with tempfile.TemporaryFile() if packed else nullcontext(content) as seekable:
        if packed:
            shutil.copyfileobj(content, seekable)
        batches = pq.ParquetFile(seekable).iter_batches(batch_size=ROWS_AT_ONCE)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
