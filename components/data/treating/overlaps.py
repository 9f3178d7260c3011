"""Where n-grams of words of some texts stand in others (Brown et al. 2020, appendix C)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from components.data.corpus import clean_text
from components.data.records import RecordError, not_utf8

_WORD = re.compile(r"\S+")
_NO_LETTER = re.compile(r"[\W_]+")
BESIDE = frozenset(("id", "group"))  # what an item is called is no part of its text


class Span(NamedTuple):
    """An n-gram's number, and the characters of a text that it takes up."""

    gram: int
    start: int
    end: int


def words(text: str) -> tuple[list[str], list[int], list[int]]:
    """Lower-case words without what is no letter or digit, and where each begins and ends."""
    said, starts, ends = [], [], []
    for found in _WORD.finditer(text):
        if plain := _NO_LETTER.sub("", found[0].lower()):
            said.append(plain)
            starts.append(found.start())
            ends.append(found.end())
    return said, starts, ends


def ngrams(said: Sequence[str], n: int) -> list[str]:
    """The n-grams of some words."""
    return [" ".join(said[start : start + n]) for start in range(len(said) - n + 1)]


class Grams:
    """n-grams to look for. A text is searched at each word that begins one of them, and no further elsewhere."""

    def __init__(self, texts: Sequence[str], n: int) -> None:
        self.n = n
        self.numbers: dict[str, int] = {}
        self.of = [
            tuple(self.numbers.setdefault(gram, len(self.numbers)) for gram in ngrams(words(text)[0], n))
            for text in texts
        ]
        self._ends = {(gram.split(" ", 1)[0], gram.rsplit(" ", 1)[1]) for gram in self.numbers} if n > 1 else set()

    def spans(self, text: str) -> Iterator[Span]:
        """Each n-gram that stands in a text."""
        said, starts, ends = words(text)
        last = self.n - 1
        for place, end in enumerate(zip(said, said[last:], strict=False)):
            if not last or end in self._ends:
                number = self.numbers.get(" ".join(said[place : place + self.n]))
                if number is not None:
                    yield Span(number, starts[place], ends[place + last])


def without(text: str, spans: Sequence[tuple[int, int]], *, margin: int) -> list[str]:
    """The pieces of a text that are left when spans and `margin` characters on both sides of each are cut out."""
    pieces, begin = [], 0
    for start, end in sorted(spans):
        pieces.append(text[begin : max(begin, start - margin)])
        begin = max(begin, end + margin)
    pieces.append(text[begin:])
    return [piece for piece in map(str.strip, pieces) if piece]


def study_length(texts: Sequence[str]) -> int:
    """The n by which GPT-3's authors judged examples: the 5th percentile of their words, from 8 to 13."""
    counts = sorted(len(words(text)[0]) for text in texts)
    return min(13, max(8, counts[int(0.05 * len(counts))]))


def item_texts(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The rows of a file of items, and all that each says, cleaned as documents are. Blank lines are allowed.

    Raises:
        RecordError: a line is no JSON object, the file is not UTF-8, or holds no item; the message names it.
    """
    found = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = _row(line, f"{path}:{number}")
                    said = _said({key: part for key, part in row.items() if key not in BESIDE})
                    found.append((row, clean_text(" ".join(said))))
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: {not_utf8(error)}") from None
    if not found:
        raise RecordError(f"{path} holds no item")
    return found


def _row(line: str, origin: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RecordError(f"{origin}: {error}") from None
    if not isinstance(row, dict):
        raise RecordError(f"{origin}: an item is a JSON object")
    return row


def _said(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _said(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _said(part)
