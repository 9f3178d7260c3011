"""What a step of a treatment is handed, and how documents lie in shards between steps.

A shard is a folder: `kept.parquet` has the documents that are left (number, id, group, corpus, text) and
`dropped.parquet` what the step took or changed (number, id, corpus, why). A document's number tells its place among
all: its shard's number in the upper 32 bits, its row in the lower.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from components.data.corpus import clean_text
from components.data.records import Document, group_of, read_records
from components.data.shards import Crew, map_shards

KEPT, DROPPED = "kept.parquet", "dropped.parquet"
ROW_BITS = 32
COLUMNS = {"number": "int64", "id": "str", "group": "str", "corpus": "str", "text": "str"}
GONE = {"number": "int64", "id": "str", "corpus": "str", "why": "str"}


@dataclass
class Treating:
    """A step's surroundings: where it writes, who works, how much memory it may take, and its figures."""

    folder: Path
    crew: Crew
    seed: int
    memory_mb: int
    items: Path  # where a step writes evaluation items, a folder
    figures: dict[str, Any] = field(default_factory=dict)

    def map(self, function: Callable[[Any, Path], None], items: Sequence[Any], name: str, unit: str) -> list[Path]:
        """One folder of each item below the step's own."""
        return map_shards(function, items, self.folder / name, self.crew, unit)


def read_documents(part: tuple[int, Path], out: Path) -> None:
    """The shard of a file of records, given its number: cleaned texts, those without a character left out.

    Raises:
        RecordError: rows of the file break their schema.
    """
    (number, file), rows, empty = part, list[tuple[int, str, str, str, str]](), list[tuple[int, str, str, str]]()
    for row, document in enumerate(read_records(file, Document)):
        place, text = (number << ROW_BITS) + row, clean_text(document.text)
        if text:
            rows.append((place, document.id, group_of(document), document.corpus, text))
        else:
            empty.append((place, document.id, document.corpus, "empty"))
    write_shard(
        out,
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame(empty, columns=["number", "id", "corpus", "why"]),
    )


def read_shards(files: list[Path], treating: Treating) -> list[Path]:
    """The shards of files of records."""
    return treating.map(read_documents, list(enumerate(files)), "read", "files read")


def kept(shard: Path, *columns: str) -> pd.DataFrame:
    """A shard's documents, or some columns of them."""
    return pd.read_parquet(shard / KEPT, columns=list(columns) or None)


def dropped(shard: Path) -> pd.DataFrame:
    """What a step took from a shard."""
    return pd.read_parquet(shard / DROPPED)


def write_shard(out: Path, documents: pd.DataFrame, gone: pd.DataFrame) -> None:
    """A shard's documents, and those that are gone."""
    # Said here, since a column of no row has no type of its own, and files of one kind are read together.
    documents.astype(COLUMNS).to_parquet(out / KEPT, index=False)
    gone[list(GONE)].astype(GONE).to_parquet(out / DROPPED, index=False)


def drop_numbers(numbers: Path, why: str, shard: Path, out: Path) -> None:
    """A shard without the documents whose numbers stand in a file."""
    documents = kept(shard)
    going = documents["number"].isin(pd.read_parquet(numbers)["number"])
    write_shard(out, documents[~going], documents[going].assign(why=why))
