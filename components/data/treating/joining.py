"""Which documents have a key in common, found a partition of keys at a time. What is held of the data is the pairs."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.data.treating.documents import Treating

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


def pairs(keyed: Sequence[Path], treating: Treating) -> pd.DataFrame:
    """Each document that is not the first with one of its keys (`number`), with the first (`first`).

    A partition's keys are joined by DuckDB within the memory that a worker may take.
    """
    join = partial(_join, tuple(map(str, keyed)), treating.memory_mb)
    found = treating.map(join, range(partitions(len(keyed))), "pairs", "partitions of keys joined")
    return pd.concat([pd.read_parquet(folder / PAIRS) for folder in found]).drop_duplicates()


def _join(keyed: tuple[str, ...], memory_mb: int, partition: int, out: Path) -> None:
    spill = out / "spill"
    limits = {"memory_limit": f"{memory_mb}MB", "threads": 1, "temp_directory": str(spill)}
    with duckdb.connect(config=limits) as base:
        files = [f"{folder}/keys-{partition:02d}.parquet" for folder in keyed]
        found = base.execute(_QUERY, {"files": files}).df()
    shutil.rmtree(spill, ignore_errors=True)
    found.astype("int64").to_parquet(out / PAIRS, index=False)
