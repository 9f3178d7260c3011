"""Which documents have a key in common, found a partition of keys at a time, so that none holds all keys.

A document's number tells its place among all: its shard's number in the upper 32 bits, its row in the lower.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.data.shards import Workplace

ROW_BITS = 32
SHARDS_A_PARTITION, MOST_PARTITIONS = 16, 64
PAIRS = "pairs.parquet"
_QUERY = """
SELECT DISTINCT number, first FROM (
    SELECT number, min(number) OVER (PARTITION BY key, more) AS first FROM read_parquet($files)
) WHERE number > first ORDER BY number, first
"""


def partitions(shards: int) -> int:
    """Into how many parts the keys of so many shards fall."""
    return min(MOST_PARTITIONS, max(1, shards // SHARDS_A_PARTITION))


def write_keys(
    out: Path, count: int, keys: NDArray[np.uint64], more: NDArray[np.uint64], numbers: NDArray[np.int64]
) -> None:
    """Keys of 128 bits, all of shape [N], with the documents that have them: a file of each of `count` partitions."""
    of = (keys >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    for partition in range(count):
        mine = of == partition
        frame = pd.DataFrame({"key": keys[mine], "more": more[mine], "number": numbers[mine]})
        frame.to_parquet(out / f"keys-{partition:02d}.parquet", index=False)


def write_digests(out: Path, count: int, texts: Iterable[str], numbers: NDArray[np.int64]) -> None:
    """Digests of N texts as their keys."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    write_keys(out, count, halves[:, 0], halves[:, 1], numbers)


def later(keyed: Sequence[Path], at: Workplace) -> list[Path]:
    """Files of pairs, sorted: each document that is not the first with one of its keys (`number`), and the first.

    A partition's keys are joined by DuckDB within the memory that a worker may take.
    """
    if not keyed:
        return []
    join = partial(_join, tuple(map(str, keyed)), at.memory_mb)
    found = at.map(join, range(partitions(len(keyed))), "pairs", "partitions of keys joined")
    return [folder / PAIRS for folder in found]


def pairs(keyed: Sequence[Path], at: Workplace) -> pd.DataFrame:
    """The pairs of all partitions, each once."""
    return pd.concat([pd.read_parquet(file) for file in later(keyed, at)]).drop_duplicates()


def stand_in(files: Sequence[Path], numbers: "pd.Series[int]") -> "pd.Series[bool]":
    """Which of a shard's numbers stand in files that are sorted by them."""
    if numbers.empty:
        return numbers.astype(bool)
    bounds = [("number", ">=", int(numbers.min())), ("number", "<=", int(numbers.max()))]
    found = [pd.read_parquet(file, columns=["number"], filters=bounds)["number"] for file in files]
    return numbers.isin(pd.concat(found))


def _join(keyed: tuple[str, ...], memory_mb: int, partition: int, out: Path) -> None:
    spill = out / "spill"
    limits = {"memory_limit": f"{memory_mb}MB", "threads": 1, "temp_directory": str(spill)}
    with duckdb.connect(config=limits) as base:
        files = [f"{folder}/keys-{partition:02d}.parquet" for folder in keyed]
        base.sql(_QUERY, params={"files": files}).write_parquet(str(out / PAIRS))  # past this process's memory
    shutil.rmtree(spill, ignore_errors=True)
