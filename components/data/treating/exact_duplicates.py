"""Texts that occurred before, letter for letter, by digests of 128 bits."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from components.data.treating.documents import Treating, drop_numbers, kept
from components.data.treating.joining import pairs, partitions, write_keys


def without_duplicates(shards: list[Path], treating: Treating) -> list[Path]:
    """The shards without texts that stand in them before."""
    going = treating.folder / "going.parquet"
    found = pairs(treating.map(partial(_keys, partitions(len(shards))), shards, "keys", "shards hashed"), treating)
    found[["number"]].drop_duplicates().to_parquet(going, index=False)
    treating.figures["dropped"] = int(found["number"].nunique())
    return treating.map(partial(drop_numbers, going, "exact duplicate"), shards, "kept", "shards thinned")


def _keys(count: int, shard: Path, out: Path) -> None:
    documents = kept(shard, "number", "text")
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in documents["text"])
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    write_keys(out, count, halves[:, 0], halves[:, 1], documents["number"].to_numpy())
