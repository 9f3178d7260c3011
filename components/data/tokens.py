"""Token files: the ids of a split in memory-mapped shards with an index, and the windows that are cut from them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from components.data.records import RecordError

SHARD_BYTES = 512 * 2**20  # what a store of files sends, hashes and resumes at once


def dtype_of(vocab_size: int) -> np.dtype[Any]:
    """The type of ids in files."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


@dataclass(frozen=True)
class TokenShard:
    """One file of ids, of one corpus."""

    file: str
    corpus: str
    tokens: int


@dataclass(frozen=True)
class TokenFileMeta:
    """The index: what the shards of a split hold, those of a corpus one after another.

    `bytes` counts the UTF-8 bytes of the texts, end-of-text markers excluded.
    """

    dtype: str
    tokens: int
    bytes: int
    documents: int
    shards: tuple[TokenShard, ...]

    @staticmethod
    def load(index: Path) -> "TokenFileMeta":
        """Read an index."""
        stored = json.loads(index.read_text())
        return TokenFileMeta(**stored | {"shards": tuple(TokenShard(**shard) for shard in stored["shards"])})

    @property
    def corpora(self) -> dict[str, range]:
        """Where the tokens of each corpus lie in the whole."""
        found: dict[str, range] = {}
        end = 0
        for shard in self.shards:
            found[shard.corpus] = range(found[shard.corpus].start if shard.corpus in found else end, end + shard.tokens)
            end += shard.tokens
        return found


class _Corpus:
    """The shards of one corpus; the last is open."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.counts: list[int] = []
        self.file: BinaryIO | None = None

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class TokenFileWriter:
    """Append encoded documents, each followed by end-of-text, without holding them.

    Shards lie beside the index `<split>.json` and are called `<split>-00000.bin` and so on.
    """

    def __init__(self, index: Path, *, vocab_size: int, endoftext: int, shard_bytes: int = SHARD_BYTES) -> None:
        index.parent.mkdir(parents=True, exist_ok=True)
        self.index = index
        self.dtype = dtype_of(vocab_size)
        self.endoftext = endoftext
        self.tokens = self.bytes = self.documents = self._shards = 0
        self._most = shard_bytes // self.dtype.itemsize
        self._corpora: dict[str, _Corpus] = {}

    def extend(self, texts: Iterable[str], ids: Iterable[list[int]], *, corpus: str = "") -> None:
        """Write documents of a corpus, given as texts and their ids."""
        for text, document in zip(texts, ids, strict=True):
            together = np.asarray([*document, self.endoftext], self.dtype)
            self.append(together, corpus=corpus, bytes=len(text.encode()), documents=1)

    def append(self, ids: NDArray[np.generic], *, corpus: str, bytes: int, documents: int) -> None:
        """Write documents of a corpus that are encoded and end in end-of-text, given how many bytes their texts are."""
        self._write(self._corpora.setdefault(corpus, _Corpus()), ids)
        self.tokens += len(ids)
        self.bytes += bytes
        self.documents += documents

    def _write(self, corpus: _Corpus, ids: NDArray[np.generic]) -> None:
        """A document may go on in the next shard."""
        while len(ids):
            if corpus.file is None or corpus.counts[-1] == self._most:
                corpus.close()
                corpus.names.append(f"{self.index.stem}-{self._shards:05d}.bin")
                corpus.counts.append(0)
                corpus.file = (self.index.parent / corpus.names[-1]).open("wb")
                self._shards += 1
            part, ids = np.split(ids, [self._most - corpus.counts[-1]])
            corpus.file.write(part.tobytes())
            corpus.counts[-1] += len(part)

    def close(self) -> TokenFileMeta:
        """Finish the shards and write their index."""
        shards = []
        for name, corpus in sorted(self._corpora.items()):
            corpus.close()
            shards += [TokenShard(file, name, n) for file, n in zip(corpus.names, corpus.counts, strict=True)]
        meta = TokenFileMeta(self.dtype.name, self.tokens, self.bytes, self.documents, tuple(shards))
        self.index.write_text(json.dumps(asdict(meta), indent=1) + "\n")
        return meta


class TokenFile:
    """Windows of T + 1 tokens of a split: T inputs and the T tokens that follow them.

    Raises:
        RecordError: the split holds fewer tokens than one window.
    """

    def __init__(self, index: Path, *, context_length: int) -> None:
        self.meta = TokenFileMeta.load(index)
        if self.meta.tokens <= context_length:
            raise RecordError(
                f"{index} has {self.meta.tokens} tokens, fewer than one window of {context_length} and one"
            )
        files = [index.parent / shard.file for shard in self.meta.shards]
        self._shards = [np.memmap(file, dtype=self.meta.dtype, mode="r") for file in files]
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        self.context_length = context_length
        self.num_windows = (self.meta.tokens - 1) // context_length

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """The ids from `start` on, `count` of them or as many as there are."""
        return np.concatenate(list(self._parts(start, min(start + count, self.meta.tokens)))).astype(np.int64)

    def _parts(self, start: int, end: int) -> Iterator[NDArray[np.generic]]:
        number = int(np.searchsorted(self._ends, start, side="right"))
        while start < end:
            shard, until = self._shards[number], int(self._ends[number])
            first = until - len(shard)
            yield shard[start - first : min(end, until) - first]
            start, number = until, number + 1

    def windows(self, starts: Iterable[int]) -> Int[Tensor, "B {self.context_length}+1"]:
        """The windows that begin at these tokens; consecutive ones begin T apart, `num_windows` of them."""
        return torch.from_numpy(np.stack([self.read(start, self.context_length + 1) for start in starts]))
