"""Texts that are nearly alike, found by bands of MinHash signatures (Broder 1997; Leskovec et al., chapter 3)."""

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rensa import RMinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from components.data.joining import pairs, partitions, write_keys
from components.data.treating.documents import Treating, drop_numbers, kept

if TYPE_CHECKING:
    from components.data.treatments.near_duplicates import NearDuplicates


def without_near_duplicates(shards: list[Path], treating: Treating, params: "NearDuplicates") -> list[Path]:
    """The shards without texts that are joined to an earlier one."""
    keys = partial(_keys, partitions(len(shards)), params.n, params.bands, params.rows, treating.seed)
    found = pairs(treating.map(keys, shards, "keys", "shards signed"), treating)
    members, going = joined(found), treating.folder / "going.parquet"
    members.to_parquet(going, index=False)
    treating.figures |= {"dropped": len(members), "pairs": len(found)}
    return treating.map(partial(drop_numbers, [going], "near duplicate"), shards, "kept", "shards thinned")


def joined(pairs: pd.DataFrame) -> pd.DataFrame:
    """Documents (`number`) that pairs join to an earlier one, directly or not, with the earliest of those (`first`)."""
    numbers, places = np.unique(pairs[["number", "first"]].to_numpy(dtype=np.int64), return_inverse=True)
    if not len(numbers):
        return pd.DataFrame({"number": numbers, "first": numbers})
    ends = places.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(len(numbers),) * 2)
    count, of = connected_components(graph, directed=False)
    first = np.full(count, len(numbers), dtype=np.int64)
    np.minimum.at(first, of, np.arange(len(numbers)))  # numbers are sorted: the least place is the earliest document
    found = pd.DataFrame({"number": numbers, "first": numbers[first[of]]})
    return found[found["number"] > found["first"]].reset_index(drop=True)


def shingles(text: str, n: int) -> list[str]:
    """A text's n-grams of lower-case words; of a shorter text all its words as one."""
    words = text.lower().split()
    return [" ".join(words[start : start + n]) for start in range(max(1, len(words) - n + 1))]


def signatures(texts: list[str], *, n: int, size: int, seed: int) -> NDArray[np.uint32]:
    """MinHash signatures of texts, [N, size]: two agree at a place as often as their n-grams do (Broder 1997)."""
    found = np.empty((len(texts), size), dtype=np.uint32)
    for row, text in enumerate(texts):
        minhash = RMinHash(num_perm=size, seed=seed)
        minhash.update(shingles(text, n))
        found[row] = minhash.digest()
    return found


def _keys(count: int, n: int, bands: int, rows: int, seed: int, shard: Path, out: Path) -> None:
    """A key of each band of each document: two have one in common where they agree in all of a band."""
    documents = kept(shard, "number", "text")
    signed = signatures(documents["text"].tolist(), n=n, size=bands * rows, seed=seed)
    parts = signed.reshape(len(documents) * bands, rows)
    digests = b"".join(hashlib.blake2b(part.tobytes(), digest_size=8).digest() for part in parts)
    band = np.tile(np.arange(bands, dtype=np.uint64), len(documents))
    numbers = np.repeat(documents["number"].to_numpy(), bands)
    write_keys(out, count, np.frombuffer(digests, dtype=np.uint64), band, numbers)
