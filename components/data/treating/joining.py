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

PARTITIONS = 16  # by the upper four bits of a key
PAIRS = "pairs.parquet"
_QUERY = """
SELECT DISTINCT number, first FROM (
    SELECT number, min(number) OVER (PARTITION BY key, more) AS first FROM read_parquet($files)
) WHERE number > first ORDER BY number, first
"""


def write_keys(out: Path, keys: NDArray[np.uint64], more: NDArray[np.uint64], numbers: NDArray[np.int64]) -> None:
    """Keys of 128 bits, all of shape [N], with the documents that have them: a file a partition."""
    of = (keys >> np.uint64(60)).astype(np.int64)
    for partition in range(PARTITIONS):
        mine = of == partition
        frame = pd.DataFrame({"key": keys[mine], "more": more[mine], "number": numbers[mine]})
        frame.to_parquet(out / f"keys-{partition:02d}.parquet", index=False)


def pairs(keyed: Sequence[Path], treating: Treating) -> pd.DataFrame:
    """Each document that is not the first with one of its keys (`number`), with the first (`first`).

    A partition's keys are joined by DuckDB within the memory that a worker may take.
    """
    partitions = [Path(f"{partition:02d}") for partition in range(PARTITIONS)]
    join = partial(_join, tuple(map(str, keyed)), treating.memory_mb)
    found = treating.map(join, partitions, "pairs", "partitions of keys joined")
    return pd.concat([pd.read_parquet(folder / PAIRS) for folder in found]).drop_duplicates()


def _join(keyed: tuple[str, ...], memory_mb: int, partition: Path, out: Path) -> None:
    spill = out / "spill"
    limits = {"memory_limit": f"{memory_mb}MB", "threads": 1, "temp_directory": str(spill)}
    with duckdb.connect(config=limits) as base:
        files = [f"{folder}/keys-{partition}.parquet" for folder in keyed]
        found = base.execute(_QUERY, {"files": files}).df()
    shutil.rmtree(spill, ignore_errors=True)
    found.astype("int64").to_parquet(out / PAIRS, index=False)
