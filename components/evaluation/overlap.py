"""How much of a text stands in another, by n-grams of words (Radford et al. 2019, section 4)."""

import hashlib
import re
from collections.abc import Iterable

from rbloom import Bloom

MISTAKEN = 1e-8  # the chance that an n-gram which is not there is taken for seen: GPT-2's bound
_NO_WORD = re.compile(r"[\W_]+")


def ngrams(text: str, n: int) -> list[str]:
    """The n-grams of a text's lower-case words of letters and digits, a blank between words."""
    words = _NO_WORD.sub(" ", text.lower()).split()
    return [" ".join(words[start : start + n]) for start in range(len(words) - n + 1)]


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
