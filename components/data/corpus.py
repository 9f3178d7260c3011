"""Cleaning, exact de-duplication and splits of raw records, portion by portion (pandas)."""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from networkx.utils import UnionFind

from components.data.digests import hash_fraction
from components.data.joining import ROW_BITS, stand_in, write_digests
from components.data.portions import Portion, keep_problems, portions
from components.data.records import (
    Comparison,
    Demonstration,
    Document,
    Problems,
    Prompt,
    as_chat,
    as_message,
    group_of,
    read_records,
)
from components.data.shards import UNCOMPRESSED
from components.progress import Progress

if TYPE_CHECKING:
    from components.stages.prepare import Prepare

SPLITS = ("train", "validation", "test")
SCHEMAS: dict[str, type[Document] | type[Demonstration]] = {"documents": Document, "demonstrations": Demonstration}
ROWS, FOUND = "rows.parquet", "found.json"
# Said, since a column of no row has no type of its own.
COLUMNS = {"number": "int64", "id": "str", "group": "str", "corpus": "str", "text": "str", "split": "str"}
_NO_CONTROL = dict.fromkeys([c for c in range(32) if chr(c) not in "\n\t"] + [0x7F])  # a table for str.translate


@dataclass
class CorpusReport:
    """What happened to the records: counts per split, the reason for each one dropped, what was cut."""

    read: int = 0
    read_conversations: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)


def clean_text(text: str) -> str:
    """NFC form, control characters out, runs of blanks joined, blank lines and outer blanks removed."""
    flat = text.replace("\n", " ")
    if flat.isprintable() and "  " not in flat and flat == flat.strip() and unicodedata.is_normalized("NFC", text):
        return text  # as most are, which is told without taking it apart
    text = unicodedata.normalize("NFC", text).translate(_NO_CONTROL)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def conversation_text(messages: list[dict[str, str]]) -> str:
    """A conversation as plain text to pretrain on: one turn a line, no markers."""
    return "\n".join(message["content"].replace("\n", " ") for message in messages)


def portions_of(data: Path, limit: int) -> list[Portion]:
    """Documents and then demonstrations in portions: all, or `limit` records, half of each kind if it has so many."""
    files = [sorted(data.glob(f"{kind}/*.jsonl")) for kind in SCHEMAS]
    if not limit:
        return list(_all(list(chain(*files))))
    documents, demonstrations = (sum(portion.records for portion in portions(kind, limit)) for kind in files)
    first = min(documents, max((limit + 1) // 2, limit - demonstrations))
    counts = (first, min(demonstrations, limit - first))
    return [portion for kind, count in zip(files, counts, strict=True) if count for portion in portions(kind, count)]


def _all(files: Sequence[Path]) -> Iterator[Portion]:
    with Progress(max(1, sum(path.stat().st_size for path in files)), "bytes cut into portions") as progress:
        for portion in portions(files):
            progress.advance(portion.end - portion.start)
            yield portion


def clean_portion(params: "Prepare", partitions: int, part: tuple[int, Portion], out: Path) -> None:
    """Clean a portion's records, given its number. Writes the digests of their texts too, and what was found.

    Columns: number (of `components.data.joining`), id, group, corpus, text (plain), messages (list of role and content,
    or None for a document), split.

    Raises:
        RecordError: the file is not UTF-8.
    """
    (number, portion), problems = part, Problems()
    kind = portion.file.parent.name
    rows = [_row(record) for record in portion.read(SCHEMAS[kind], problems)]
    frame = pd.DataFrame(rows, columns=["id", "group", "corpus", "text", "messages"])
    frame.insert(0, "number", (number << ROW_BITS) + np.arange(len(frame)))
    frame["messages"] = frame["messages"].map(_clean_messages, na_action="ignore")
    frame["text"] = [
        clean_text(text) if messages is None else conversation_text(messages)
        for text, messages in zip(frame["text"], frame["messages"], strict=True)
    ]
    frame["split"] = [split_of(group, params) for group in frame["group"]]
    empty = (frame["text"] == "") | frame["messages"].map(_has_empty_turn, na_action="ignore").eq(True)
    found = {"kind": kind, "read": len(frame), "empty": int(empty.sum())}
    frame = frame[~empty]
    write_digests(out, partitions, frame["text"], frame["number"].to_numpy())
    frame.astype(COLUMNS).to_parquet(out / ROWS, index=False, compression=UNCOMPRESSED)
    (out / FOUND).write_text(json.dumps(found))
    keep_problems(problems, out)


def _row(record: Document | Demonstration) -> dict[str, Any]:
    named: dict[str, Any] = {"id": record.id, "group": group_of(record)}
    if isinstance(record, Document):
        return {**named, "corpus": record.corpus, "text": record.text, "messages": None}
    return {**named, "corpus": "", "text": None, "messages": as_chat(record.messages)}


def thin_portion(repeated: Sequence[Path], cleaned: Path, out: Path) -> None:
    """A cleaned portion without the records whose text stood before; `repeated` are files of `joining.later`."""
    frame = pd.read_parquet(cleaned / ROWS)
    again = stand_in(repeated, frame["number"])
    frame[~again].to_parquet(out / ROWS, index=False, compression=UNCOMPRESSED)
    kept, kind = Counter(frame["split"][~again]), read_found(cleaned)["kind"]
    (out / FOUND).write_text(json.dumps({"kind": kind, "duplicate": int(again.sum()), "kept": kept}))


def read_found(folder: Path) -> dict[str, Any]:
    """What was found of a portion."""
    found: dict[str, Any] = json.loads((folder / FOUND).read_text())
    return found


def _clean_messages(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": m["role"], "content": clean_text(m["content"])} for m in messages]


def _has_empty_turn(messages: list[dict[str, str]]) -> bool:
    return any(not message["content"] for message in messages)


def clean_prompts(data: Path, report: CorpusReport) -> Iterator[Prompt]:
    """Prompts that the user brought, cleaned; one with an empty turn is dropped and counted.

    Raises:
        RecordError: rows of a file break their schema.
    """
    for path in sorted(data.glob("prompts/*.jsonl")):
        for prompt in read_records(path, Prompt):
            messages = _clean_messages(as_chat(prompt.messages))
            if _has_empty_turn(messages):
                report.dropped["empty prompts"] += 1
            else:
                yield Prompt(id=prompt.id, messages=tuple(map(as_message, messages)), group=group_of(prompt))


def clean_comparisons(data: Path, report: CorpusReport) -> Iterator[Comparison]:
    """Comparisons that the user brought, cleaned; ones that nothing can be learnt from are dropped and counted.

    Dropped are those with an empty turn, those whose replies are all the same, and those that occurred before, in
    whatever order their replies stand. Groups that have a prompt in common become one.

    Raises:
        RecordError: rows of a file break their schema.
    """
    seen: set[bytes] = set()
    groups = _joined_groups(data)
    for row, messages in _comparisons(data):
        replies = tuple(map(clean_text, row.replies))
        digest = _digest((messages, sorted(zip(replies, row.ranks, strict=True))))
        if _has_empty_turn(messages):
            report.dropped["empty comparisons"] += 1
        elif len(set(replies)) < 2:
            report.dropped["comparisons of identical replies"] += 1
        elif digest in seen:
            report.dropped["duplicate comparisons"] += 1
        else:
            seen.add(digest)
            said = tuple(map(as_message, messages))
            yield replace(row, messages=said, replies=replies, group=groups[group_of(row)])


def _comparisons(data: Path) -> Iterator[tuple[Comparison, list[dict[str, str]]]]:
    """Comparisons with their cleaned turns, which may be empty."""
    for path in sorted(data.glob("comparisons/*.jsonl")):
        for row in read_records(path, Comparison):
            yield row, _clean_messages(as_chat(row.messages))


def _joined_groups(data: Path) -> dict[str, str]:
    """The first of all groups that a group is joined to by prompts: otherwise one would be learnt and tested on."""
    joined: Any = UnionFind()
    groups: dict[str, None] = {}
    for row, messages in _comparisons(data):
        joined.union(group_of(row), _digest(messages))
        groups[group_of(row)] = None
    first: dict[str | bytes, str] = {}
    return {group: first.setdefault(joined[group], group) for group in groups}


def _digest(value: object) -> bytes:
    return hashlib.sha256(repr(value).encode()).digest()[:16]


def split_of(group: str, params: "Prepare") -> str:
    """The split of all records of a group, by the group's hash."""
    coin = hash_fraction(group, "split")
    if coin < params.test_fraction:
        return "test"
    return "validation" if coin < params.test_fraction + params.validation_fraction else "train"


def prompt_use_of(group: str, params: "Prepare") -> str:
    """What a prompt that the user brought serves for, by the hash of its group."""
    split = split_of(group, params)
    if split != "train":
        return split
    return "compare" if hash_fraction(group, "role") < 0.5 else "ppo"


def role_of(group: str, split: str, params: "Prepare") -> str:
    """What a conversation serves for after pretraining: demonstrations, or prompts for one of four uses.

    The share of training conversations that are demonstrations is, of validation conversations, the share of prompts.
    """
    if split == "test":
        return "test"
    coin = hash_fraction(group, "role")
    first = coin < params.demonstration_fraction
    if split == "validation":
        return "validation" if first else "demonstrations"
    if first:
        return "demonstrations"
    return "compare" if coin < (1 + params.demonstration_fraction) / 2 else "ppo"
