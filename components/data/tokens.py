"""Token files: one flat memory-mapped array of ids a split, and the windows that are cut from it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from components.data.records import RecordError


@dataclass(frozen=True)
class TokenFileMeta:
    """What a token file holds; `bytes` counts the UTF-8 bytes of its texts, end-of-text markers excluded."""

    dtype: str
    tokens: int
    bytes: int
    documents: int


class TokenFileWriter:
    """Append encoded documents, each followed by end-of-text, without holding them."""

    def __init__(self, path: Path, *, vocab_size: int, endoftext: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
        self.endoftext = endoftext
        self.tokens = self.bytes = self.documents = 0
        self._file = path.open("wb")

    def extend(self, texts: Iterable[str], ids: Iterable[list[int]]) -> None:
        """Write documents given as texts and their ids."""
        for text, document in zip(texts, ids, strict=True):
            self._file.write(np.asarray([*document, self.endoftext], self.dtype).tobytes())
            self.tokens += len(document) + 1
            self.bytes += len(text.encode())
            self.documents += 1

    def close(self) -> TokenFileMeta:
        """Finish the file and write its description beside it, as `<name>.json`."""
        self._file.close()
        meta = TokenFileMeta(self.dtype.name, self.tokens, self.bytes, self.documents)
        self.path.with_suffix(".json").write_text(json.dumps(asdict(meta), indent=1) + "\n")
        return meta


class TokenFile:
    """Windows of T + 1 tokens of a token file: T inputs and the T tokens that follow them.

    Raises:
        RecordError: the file holds fewer tokens than one window.
    """

    def __init__(self, path: Path, *, context_length: int) -> None:
        self.meta = TokenFileMeta(**json.loads(path.with_suffix(".json").read_text()))
        if self.meta.tokens <= context_length:
            raise RecordError(
                f"{path} has {self.meta.tokens} tokens, fewer than one window of {context_length} and one"
            )
        self.ids = np.memmap(path, dtype=self.meta.dtype, mode="r")
        self.context_length = context_length
        self.num_windows = (len(self.ids) - 1) // context_length

    def windows(self, starts: Iterable[int]) -> Int[Tensor, "B {self.context_length}+1"]:
        """The windows that begin at these tokens; consecutive ones begin T apart, `num_windows` of them."""
        rows = [self.ids[start : start + self.context_length + 1] for start in starts]
        return torch.from_numpy(np.stack(rows).astype(np.int64))
