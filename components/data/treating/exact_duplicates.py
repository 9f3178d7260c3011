"""Texts that occurred before, letter for letter, by digests of 128 bits."""

from functools import partial
from pathlib import Path

from components.data.joining import later, partitions, write_digests
from components.data.treating.documents import Treating, drop_numbers, dropped, kept


def without_duplicates(shards: list[Path], treating: Treating) -> list[Path]:
    """The shards without texts that stand in them before."""
    digests = partial(_digests, partitions(len(shards)))
    going = later(treating.map(digests, shards, "keys", "shards hashed"), treating)
    thinned = treating.map(partial(drop_numbers, going, "exact duplicate"), shards, "kept", "shards thinned")
    treating.figures["dropped"] = sum(len(dropped(shard)) for shard in thinned)
    return thinned


def _digests(count: int, shard: Path, out: Path) -> None:
    documents = kept(shard, "number", "text")
    write_digests(out, count, documents["text"], documents["number"].to_numpy())
