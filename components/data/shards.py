"""A function over shards of data, here or on many machines: files in, files out.

A shard's output is a folder. It is written beside and renamed, so that it is there whole or not at all, and a run that
was ended goes on with the shards that are missing.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from components.progress import Progress

Item = TypeVar("Item")
UNCOMPRESSED = None  # of Parquet files that the next pass reads: a third of the time to write, half to read


# Makes calls, in any order, and yields as each ends: what `open` of one of `components.data.workers` gives.
Crew: TypeAlias = Callable[[Callable[..., None], Sequence[tuple[Any, ...]]], Iterator[None]]


@dataclass
class Workplace:
    """Where results of shards are kept, who works on them, and the memory that a worker may take to join them."""

    folder: Path
    crew: Crew
    memory_mb: int

    def map(self, function: Callable[[Item, Path], None], items: Sequence[Item], name: str, unit: str) -> list[Path]:
        """One folder of each item below the workplace's own."""
        return map_shards(function, items, self.folder / name, self.crew, unit)


def map_shards(
    function: Callable[[Item, Path], None], items: Sequence[Item], folder: Path, crew: Crew, unit: str
) -> list[Path]:
    """One output of each item, in their order: `function(item, output)` writes files into the folder `output`.

    What it writes depends on its item alone, and on parameters that are bound to it; it may be called twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for begun in folder.glob(".*"):  # by a worker that was killed
        shutil.rmtree(begun)
    targets = [folder / f"{number:05d}" for number in range(len(items))]
    calls = [(function, item, target) for item, target in zip(items, targets, strict=True) if not target.exists()]
    with Progress(max(1, len(items)), unit, done=len(items) - len(calls)) as progress:
        for _ in crew(_once, calls):
            progress.advance()
    return targets


def _once(function: Callable[[Item, Path], None], item: Item, target: Path) -> None:
    beside = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    beside.mkdir()
    try:
        function(item, beside)
        beside.rename(target)
    except OSError:
        if not target.exists():  # else another worker, taken for lost, was first: its bytes are the same
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
