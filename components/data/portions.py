"""Portions of record files: whole lines that one worker reads at once, whatever the size of the file they stand in."""

import codecs
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.data.records import Problems, Record, RecordError, not_utf8, valid_rows

PORTION_BYTES = 8 * 2**20
PROBLEMS = "problems.json"


@dataclass(frozen=True)
class Portion:
    """Bytes [start, end) of a file, which begin with its line number `line` and hold so many records."""

    file: Path
    start: int
    end: int
    line: int
    records: int

    def read(self, schema: type[Record], problems: Problems) -> Iterator[Record]:
        """Yield the valid records; what is wrong with others goes into `problems`.

        Raises:
            RecordError: the file is not UTF-8.
        """
        with self.file.open("rb") as file:
            file.seek(self.start)
            content = io.BytesIO(file.read(self.end - self.start))
        lines = io.TextIOWrapper(content, "utf-8" if self.start else "utf-8-sig", newline="\n")  # as they were cut
        try:
            yield from valid_rows(lines, schema, problems, path=self.file, first=self.line)
        except UnicodeDecodeError as error:
            raise RecordError(f"{self.file}: {not_utf8(error)}") from None


def portions(files: Iterable[Path], limit: int = 0) -> Iterator[Portion]:
    """Cut files into portions of `PORTION_BYTES` or, with their last line, a little more.

    With a limit, of the first so many records; no more of the files is read.
    """
    left = limit or sys.maxsize
    for path in files:
        start = end = records = 0
        first = line = 1
        with path.open("rb") as file:
            for text in file:
                said = text if end else text.removeprefix(codecs.BOM_UTF8)
                end, line, records = end + len(text), line + 1, records + bool(said.strip())
                if end - start >= PORTION_BYTES or records == left:
                    yield Portion(path, start, end, first, records)
                    left -= records
                    start, first, records = end, line, 0
                if not left:
                    return
        if end > start:
            yield Portion(path, start, end, first, records)
            left -= records


def keep_problems(problems: Problems, out: Path) -> None:
    """Leave what is wrong with a portion's rows beside what is made of it."""
    (out / PROBLEMS).write_text(json.dumps([problems.count, problems.shown]))


def check_problems(made: Iterable[Path], kind: str) -> None:
    """Raise if anything is wrong with rows of the portions that these folders were made of.

    Raises:
        RecordError: the message counts all and lists the first, up to a limit.
    """
    problems = Problems()
    for folder in made:
        problems.update(Problems(*json.loads((folder / PROBLEMS).read_text())))
    problems.check(f"malformed {kind} row(s)")
