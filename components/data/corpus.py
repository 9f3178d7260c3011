"""Cleaning, exact de-duplication and splits of raw records, shard by shard (pandas)."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from components.data.digests import hash_fraction
from components.data.records import Demonstration, Document, as_chat, read_records
from components.schema import Prepare

SPLITS = ("train", "validation", "test")
_NO_CONTROL = dict.fromkeys([c for c in range(32) if chr(c) not in "\n\t"] + [0x7F])  # a table for str.translate


@dataclass
class CorpusReport:
    """What happened to the records: counts per split and the reason for each one dropped."""

    read: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


def clean_text(text: str) -> str:
    """NFC form, control characters out, runs of blanks joined, blank lines and outer blanks removed."""
    text = unicodedata.normalize("NFC", text).translate(_NO_CONTROL)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def conversation_text(messages: list[dict[str, str]]) -> str:
    """A conversation as plain text to pretrain on: one turn a line, no markers."""
    return "\n".join(message["content"].replace("\n", " ") for message in messages)


def read_shards(data: Path, params: Prepare, report: CorpusReport) -> Iterator[pd.DataFrame]:
    """Yield cleaned, unique records as frames of at most `shard_records` rows.

    Columns: id, text (plain), messages (list of role and content, or None for a document), split.

    Raises:
        RecordError: rows of a file break their schema.
    """
    seen: set[bytes] = set()
    rows: list[dict[str, Any]] = []
    for row in _raw_rows(data, params.max_records):
        rows.append(row)
        if len(rows) == params.shard_records:
            yield _process(rows, params, seen, report)
            rows = []
    if rows:
        yield _process(rows, params, seen, report)


def _raw_rows(data: Path, limit: int) -> Iterator[dict[str, Any]]:
    """All records, or the first `limit` of documents and demonstrations in turn, so that neither kind is left out."""
    kinds = (_documents(data), _demonstrations(data))
    if not limit:
        return chain(*kinds)
    return islice((row for pair in zip_longest(*kinds) for row in pair if row is not None), limit)


def _documents(data: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(data.glob("documents/*.jsonl")):
        for document in read_records(path, Document):
            yield {"id": document.id, "text": document.text, "messages": None}


def _demonstrations(data: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(data.glob("demonstrations/*.jsonl")):
        for demonstration in read_records(path, Demonstration):
            yield {"id": demonstration.id, "text": None, "messages": as_chat(demonstration.messages)}


def _process(rows: list[dict[str, Any]], params: Prepare, seen: set[bytes], report: CorpusReport) -> pd.DataFrame:
    """Clean one shard; `seen` (digests of the texts so far) and `report` are updated in place."""
    frame = pd.DataFrame(rows, columns=["id", "text", "messages"])
    report.read += len(frame)
    frame["messages"] = frame["messages"].map(_clean_messages, na_action="ignore")
    frame["text"] = [
        clean_text(text) if messages is None else conversation_text(messages)
        for text, messages in zip(frame["text"], frame["messages"], strict=True)
    ]
    empty = (frame["text"] == "") | frame["messages"].map(_has_empty_turn, na_action="ignore").eq(True)
    digests = frame["text"].map(lambda text: hashlib.sha256(text.encode()).digest()[:16])
    duplicate = ~empty & (digests.duplicated() | digests.isin(seen))
    report.dropped.update({"empty": int(empty.sum()), "duplicate": int(duplicate.sum())})
    frame, digests = frame[~empty & ~duplicate].copy(), digests[~empty & ~duplicate]
    seen.update(digests)
    frame["split"] = frame["id"].map(lambda name: split_of(name, params))
    report.kept.update(Counter(frame["split"]))
    return frame


def _clean_messages(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": m["role"], "content": clean_text(m["content"])} for m in messages]


def _has_empty_turn(messages: list[dict[str, str]]) -> bool:
    return any(not message["content"] for message in messages)


def split_of(name: str, params: Prepare) -> str:
    """The split of a conversation, by the hash of its id."""
    coin = hash_fraction(name, "split")
    if coin < params.test_fraction:
        return "test"
    return "validation" if coin < params.test_fraction + params.validation_fraction else "train"


def prompt_use_of(name: str, params: Prepare) -> str:
    """What a prompt that the user brought serves for, by the hash of its id."""
    split = split_of(name, params)
    if split != "train":
        return split
    return "compare" if hash_fraction(name, "role") < 0.5 else "ppo"


def role_of(name: str, split: str, params: Prepare) -> str:
    """What a conversation serves for after pretraining: demonstrations, or prompts for one of four uses."""
    if split == "test":
        return "test"
    if split == "validation":
        return "demonstrations" if hash_fraction(name, "validation") < 0.5 else "validation"
    coin = hash_fraction(name, "role")
    if coin < params.demonstration_fraction:
        return "demonstrations"
    return "compare" if coin < (1 + params.demonstration_fraction) / 2 else "ppo"
