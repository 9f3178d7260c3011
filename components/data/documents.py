"""The texts of a split's token files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from components.data.chat import ChatTokenizer
from components.data.tokens import TokenFile

READ = 2**20  # ids at a time


def documents(path: Path, tokenizer: ChatTokenizer) -> Iterator[str]:
    """One after another, each up to its end-of-text token."""
    tokens, left = TokenFile(path, context_length=1), np.zeros(0, dtype=np.int64)
    for start in range(0, tokens.meta.tokens, READ):
        part = np.concatenate([left, tokens.read(start, READ)])
        *whole, left = np.split(part, np.flatnonzero(part == tokenizer.endoftext) + 1)
        yield from (tokenizer.decode(document.tolist()) for document in whole)
    if len(left):
        yield tokenizer.decode(left.tolist())
