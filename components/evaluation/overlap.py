"""How much of a text stands in another, by n-grams of words (Radford et al. 2019, section 4)."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rbloom import Bloom

from components.data.chat import ChatTokenizer
from components.data.tokens import TokenFile

MISTAKEN = 1e-8  # the chance that an n-gram which is not there is taken for seen: GPT-2's bound
_NO_WORD = re.compile(r"[\W_]+")
READ = 2**20  # ids at a time


def ngrams(text: str, n: int) -> list[str]:
    """The n-grams of a text's lower-case words of letters and digits, a blank between words."""
    words = _NO_WORD.sub(" ", text.lower()).split()
    return [" ".join(words[start : start + n]) for start in range(len(words) - n + 1)]


def documents(path: Path, tokenizer: ChatTokenizer) -> Iterator[str]:
    """The texts of a token file, one after another."""
    ids, left = TokenFile(path, context_length=1).ids, np.zeros(0, dtype=np.int64)
    for start in range(0, len(ids), READ):
        part = np.concatenate([left, ids[start : start + READ].astype(np.int64)])
        *whole, left = np.split(part, np.flatnonzero(part == tokenizer.endoftext) + 1)
        yield from (tokenizer.decode(document.tolist()) for document in whole)
    if len(left):
        yield tokenizer.decode(left.tolist())


def seen(texts: Iterable[str], n: int, *, expected: int) -> Bloom:
    """A filter of all n-grams of some texts, of which there are `expected` at most."""
    found = Bloom(max(1, expected), MISTAKEN, _stable)
    for text in texts:
        found.update(ngrams(text, n))
    return found


def _stable(text: str) -> int:
    """A hash that is the same in every process: Python's own is not."""
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big", signed=True)
