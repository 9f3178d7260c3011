"""Files of the user's: tables with or without names of columns, or rows of JSON."""

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from components.data.containers import BadRow, endings
from components.data.containers import rows as rows_of
from components.data.labelled.source import LabelledSource, Row
from components.data.records import Problems, RecordError, not_utf8
from components.sections.base import OpenFraction, section
from components.sections.files import InputFile

AS_IS = ("choices", "gold")  # not text
Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=0)]


@section
class Table(LabelledSource):
    """CSV, TSV, JSON lines or Parquet. `columns` says which column has which key of an item: `text`, `label` and so on.

    By name where the first line has names, by number, from 0, where it is a row as any other. Of `train` a part is
    held out for validation.
    """

    kind: Literal["table"]
    train: InputFile
    test: InputFile
    columns: Annotated[dict[str, Column], Field(min_length=2)]
    validation_fraction: OpenFraction

    def rows(self, conversations: Path | None, *, seed: int) -> Mapping[str, list[Row]]:
        train, test = list(self._read(Path(self.train))), list(self._read(Path(self.test)))
        random.Random(seed).shuffle(train)
        held = max(1, round(len(train) * self.validation_fraction))
        if held >= len(train):
            raise RecordError(f"{self.train} has {len(train)} row(s): too few to train on and to validate")
        return {"train": train[held:], "validation": train[:held], "test": test}

    def _read(self, path: Path) -> Iterator[Row]:
        problems, found = Problems(), []
        try:
            for number, row in self._raw(path):
                values = {key: row.get(column) for key, column in self.columns.items()}
                missing = [str(self.columns[key]) for key, value in values.items() if value in (None, "")]
                if missing:
                    problems.add(f"{path}:{number}", f"nothing in column {', '.join(missing)}")
                found.append({key: value if key in AS_IS else str(value) for key, value in values.items()})
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror}; labelled.source names it") from None
        except UnicodeDecodeError as error:
            raise RecordError(f"{path}: {not_utf8(error)}") from None
        problems.check("row(s) that are not labelled; labelled.source.columns says which columns are read")
        yield from found

    def _raw(self, path: Path) -> Iterator[tuple[int, Mapping[str | int, object]]]:
        suffix, packed = endings(path) or ("", "")
        if suffix in (".csv", ".tsv") and not packed:
            yield from self._cells(path, suffix)
            return
        if suffix not in (".jsonl", ".ndjson", ".json", ".parquet"):
            raise RecordError(
                f"{path}: what is read are .csv and .tsv files, and .jsonl, .json and .parquet, also packed"
            )
        with path.open("rb") as raw:
            for number, row in rows_of(path, raw):
                if not isinstance(row, dict):
                    raise RecordError(f"{path}:{number}: {row if isinstance(row, BadRow) else 'not an object'}")
                yield number, row

    def _cells(self, path: Path, suffix: str) -> Iterator[tuple[int, Mapping[str | int, object]]]:
        """The cells of each line by their column, which the first line names where columns have names."""
        # Published TSV files quote nothing, and have quotation marks in their texts.
        style: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {"delimiter": ","}
        with path.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, **style)
            numbered = all(isinstance(column, int) for column in self.columns.values())
            names: Sequence[str] | None = None if numbered else next(lines, [])
            for cells in lines:
                if cells:
                    yield lines.line_num, dict(zip(names or range(len(cells)), cells, strict=False))


SECTION = Table
