"""What a step of a treatment is handed, and how documents lie in shards between steps.

A shard is a folder: `kept.parquet` has the documents that are left (number, id, group, corpus, text) and
`dropped.parquet` what the step took or changed (number, id, corpus, why).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from components.data.corpus import clean_text
from components.data.joining import ROW_BITS, stand_in
from components.data.portions import Portion, check_problems, keep_problems, portions
from components.data.records import Document, Problems, group_of
from components.data.shards import UNCOMPRESSED, Workplace

KEPT, DROPPED = "kept.parquet", "dropped.parquet"
COLUMNS = {"number": "int64", "id": "str", "group": "str", "corpus": "str", "text": "str"}
GONE = {"number": "int64", "id": "str", "corpus": "str", "why": "str"}


@dataclass
class Treating(Workplace):
    """A step's surroundings."""

    seed: int
    items: Path  # where a step writes evaluation items, a folder
    figures: dict[str, Any] = field(default_factory=dict)


def read_documents(part: tuple[int, Portion], out: Path) -> None:
    """The shard of a portion of records, given its number: cleaned texts, those without a character left out.

    Raises:
        RecordError: the file is not UTF-8.
    """
    (number, portion), rows, empty = part, list[tuple[int, str, str, str, str]](), list[tuple[int, str, str, str]]()
    problems = Problems()
    for row, document in enumerate(portion.read(Document, problems)):
        place, text = (number << ROW_BITS) + row, clean_text(document.text)
        if text:
            rows.append((place, document.id, group_of(document), document.corpus, text))
        else:
            empty.append((place, document.id, document.corpus, "empty"))
    keep_problems(problems, out)
    write_shard(
        out,
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame(empty, columns=["number", "id", "corpus", "why"]),
    )


def read_shards(files: list[Path], treating: Treating) -> list[Path]:
    """The shards of files of records.

    Raises:
        RecordError: rows break their schema.
    """
    shards = treating.map(read_documents, list(enumerate(portions(files))), "read", "portions read")
    check_problems(shards, "document")
    return shards


def kept(shard: Path, *columns: str) -> pd.DataFrame:
    """A shard's documents, or some columns of them."""
    return pd.read_parquet(shard / KEPT, columns=list(columns) or None)


def dropped(shard: Path) -> pd.DataFrame:
    """What a step took from a shard."""
    return pd.read_parquet(shard / DROPPED)


def write_shard(out: Path, documents: pd.DataFrame, gone: pd.DataFrame) -> None:
    """A shard's documents, and those that are gone."""
    # Said here, since a column of no row has no type of its own, and files of one kind are read together.
    documents.astype(COLUMNS).to_parquet(out / KEPT, index=False, compression=UNCOMPRESSED)
    gone[list(GONE)].astype(GONE).to_parquet(out / DROPPED, index=False)


def drop_numbers(files: Sequence[Path], why: str, shard: Path, out: Path) -> None:
    """A shard without the documents whose numbers stand in files that are sorted by them."""
    documents = kept(shard)
    going = stand_in(files, documents["number"])
    write_shard(out, documents[~going], documents[going].assign(why=why))
