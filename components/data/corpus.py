"""Cleaning, exact de-duplication and splits of raw records, shard by shard (pandas)."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from networkx.utils import UnionFind

from components.data.digests import hash_fraction
from components.data.records import (
    Comparison,
    Demonstration,
    Document,
    Prompt,
    as_chat,
    as_message,
    group_of,
    read_records,
)

if TYPE_CHECKING:
    from components.stages.prepare import Prepare

SPLITS = ("train", "validation", "test")
SHARD_CHARACTERS = 8_000_000  # a shard ends here however few records that are
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
    text = unicodedata.normalize("NFC", text).translate(_NO_CONTROL)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def conversation_text(messages: list[dict[str, str]]) -> str:
    """A conversation as plain text to pretrain on: one turn a line, no markers."""
    return "\n".join(message["content"].replace("\n", " ") for message in messages)


def read_shards(data: Path, params: "Prepare", report: CorpusReport) -> Iterator[pd.DataFrame]:
    """Yield cleaned, unique records as frames of at most `shard_records` rows, fewer where they are long.

    Columns: id, group, corpus, text (plain), messages (list of role and content, or None for a document), split. What
    is kept of all records is a digest of each text, 16 bytes.

    Raises:
        RecordError: rows of a file break their schema.
    """
    seen: set[bytes] = set()
    rows: list[dict[str, Any]] = []
    characters = 0
    for row in _raw_rows(data, params.max_records):
        rows.append(row)
        characters += len(row["text"] or "") + sum(len(message["content"]) for message in row["messages"] or ())
        if len(rows) == params.shard_records or characters >= SHARD_CHARACTERS:
            yield _process(rows, params, seen, report)
            rows, characters = [], 0
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
            yield {
                "id": document.id,
                "group": group_of(document),
                "corpus": document.corpus,
                "text": document.text,
                "messages": None,
            }


def _demonstrations(data: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(data.glob("demonstrations/*.jsonl")):
        for demonstration in read_records(path, Demonstration):
            yield {
                "id": demonstration.id,
                "group": group_of(demonstration),
                "corpus": "",
                "text": None,
                "messages": as_chat(demonstration.messages),
            }


def _process(rows: list[dict[str, Any]], params: "Prepare", seen: set[bytes], report: CorpusReport) -> pd.DataFrame:
    """Clean one shard; `seen` (digests of the texts so far) and `report` are updated in place."""
    frame = pd.DataFrame(rows, columns=["id", "group", "corpus", "text", "messages"])
    report.read += len(frame)
    report.read_conversations += int(frame["messages"].notna().sum())
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
    frame["split"] = frame["group"].map(lambda group: split_of(group, params))
    report.kept.update(Counter(frame["split"]))
    return frame


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
