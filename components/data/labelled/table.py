"""Files of the user's: tables with or without names of columns, or rows of JSON."""

import csv
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from components.data.containers import LARGEST_CELL, BadRow, endings
from components.data.containers import rows as rows_of
from components.data.labelled.source import LabelledSource, Row
from components.data.records import Problems, RecordError, not_utf8
from components.sections.base import OpenFraction, section
from components.sections.files import InputFile

Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=0)]
Cells = Mapping[str | int, Any]


@section
class Table(LabelledSource):
    """CSV, TSV, JSON lines or Parquet. `columns` says which column has which key of an item: `text`, `label` and so on.

    By name where the first line has names, by number, from 0, where it is a row as any other. Of `train` a part is
    held out for validation. White space around a cell is not of it.
    """

    kind: Literal["table"]
    train: InputFile
    test: InputFile
    columns: Annotated[dict[str, Column], Field(min_length=2)]
    validation_fraction: OpenFraction

    @model_validator(mode="after")
    def _columns_are_of_one_kind(self) -> "Table":
        if len({type(column) for column in self.columns.values()}) > 1:
            raise ValueError("columns: all by their names, or all by their numbers")
        return self

    def rows(self, conversations: Path | None, *, seed: int) -> Mapping[str, list[Row]]:
        train, test = self._read(Path(self.train)), self._read(Path(self.test))
        self._check_classes(train)
        random.Random(seed).shuffle(train)
        held = max(1, round(len(train) * self.validation_fraction))
        if held >= len(train):
            raise RecordError(f"{self.train} has {len(train)} row(s): too few to train on and to validate")
        return {"train": train[held:], "validation": train[:held], "test": test}

    def _check_classes(self, rows: list[Row]) -> None:
        """Raises: RecordError: a class has one row alone, as has a line of names that is read as a row."""
        counts = Counter(row["label"] for row in rows if "label" in row)
        if alone := sorted(label for label, count in counts.items() if count == 1):
            raise RecordError(
                f"{self.train} has one row of the class {', '.join(alone[:5])}: nothing can be learnt of it. Where "
                "labelled.source.columns are numbers, a line of names is read as a row"
            )

    def _read(self, path: Path) -> list[Row]:
        problems, found = Problems(), list[Row]()
        try:
            for number, cells in self._raw(path):
                if isinstance(cells, BadRow):
                    problems.add(f"{path}:{number}", str(cells))
                    continue
                row = {key: _value(key, cells.get(column)) for key, column in self.columns.items()}
                if missing := [str(self.columns[key]) for key, value in row.items() if value in (None, "")]:
                    problems.add(f"{path}:{number}", f"nothing in column {', '.join(missing)}")
                found.append(row)
        except (RecordError, UnicodeDecodeError) as error:
            said = not_utf8(error) if isinstance(error, UnicodeDecodeError) else ""
            raise RecordError(f"{path}: {said}" if said else str(error)) from None
        except Exception as error:  # decoders of tables, Parquet and packed files raise what they like
            said = getattr(error, "strerror", None) or str(error)
            raise RecordError(f"{path}: {said}; labelled.source names it") from None
        problems.check("row(s) that are not labelled; labelled.source.columns says which columns are read")
        if not found:
            raise RecordError(f"{path} has no row")
        return found

    def _raw(self, path: Path) -> Iterator[tuple[int, Cells | BadRow]]:
        suffix, packed = endings(path) or ("", "")
        if suffix in (".csv", ".tsv") and not packed:
            yield from self._cells(path, suffix)
            return
        if suffix not in (".jsonl", ".ndjson", ".json", ".parquet"):
            raise RecordError(f"{path}: .csv and .tsv files are read, and .jsonl, .json and .parquet, also packed")
        with path.open("rb") as raw:
            for number, row in rows_of(path, raw):
                yield number, row if isinstance(row, dict | BadRow) else BadRow("not an object")

    def _cells(self, path: Path, suffix: str) -> Iterator[tuple[int, Cells | BadRow]]:
        """The cells of each line by their column, which the first line names where columns have names."""
        # Published TSV files quote nothing, and have quotation marks in their texts.
        style: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {"delimiter": ","}
        csv.field_size_limit(LARGEST_CELL)
        with path.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True, **style)
            columns: list[str | int] = []
            if isinstance(next(iter(self.columns.values())), str):
                columns = [name.strip() for name in next(lines, [])]
                if strange := [str(name) for name in self.columns.values() if name not in columns]:
                    raise RecordError(f"{path} has no column {', '.join(strange)}, but {', '.join(map(str, columns))}")
            for cells in filter(None, lines):
                columns = columns or list(range(len(cells)))
                if len(cells) == len(columns):
                    yield lines.line_num, dict(zip(columns, cells, strict=True))
                else:
                    yield lines.line_num, BadRow(f"{len(cells)} cells where the first line has {len(columns)}")


def _value(key: str, cell: Any) -> Any:
    """What an item has under a key: a number of a choice, a list of choices, or text."""
    if cell is None or key == "choices":
        return cell
    text = str(cell).strip()
    return int(text) if key == "gold" and text.isdecimal() else text


SECTION = Table
