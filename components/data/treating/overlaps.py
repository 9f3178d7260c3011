"""Where n-grams of words of some texts stand in others (Brown et al. 2020, appendix C)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from components.data.corpus import clean_text
from components.data.records import RecordError, not_utf8

_WORD = re.compile(r"\S+")
_LETTER = re.compile(r"[^\W_]")
_NO_LETTER = re.compile(r"[^\w\s]+|_+")
_ASCII_NO_LETTER = "".join(_NO_LETTER.findall("".join(map(chr, range(128))))).encode("ascii")
BESIDE = frozenset(("id", "group"))  # what an item is called is no part of its text


class Span(NamedTuple):
    """An n-gram's number, and the characters of a text that it takes up."""

    gram: int
    start: int
    end: int


def words(text: str) -> list[str]:
    """Lower-case words, which blanks part, without what is no letter or digit; those of nothing else are none."""
    low = text.lower()
    if low.isascii():  # three times as fast (LOG.md)
        return low.encode("ascii").translate(None, _ASCII_NO_LETTER).decode("ascii").split()
    return _NO_LETTER.sub("", low).split()


def _places(text: str) -> list[tuple[int, int]]:
    """Where each of a text's words begins and ends."""
    found = _WORD.finditer(text)
    return [each.span() for each in found if _LETTER.search(each[0])]


def ngrams(said: Sequence[str], n: int) -> list[str]:
    """The n-grams of some words."""
    return [" ".join(said[start : start + n]) for start in range(len(said) - n + 1)]


class Grams:
    """n-grams to look for. A text is searched where three of its words fit one of them, and no further elsewhere."""

    def __init__(self, texts: Sequence[str], n: int) -> None:
        self.n = n
        self.numbers: dict[str, int] = {}
        self.of = [
            tuple(self.numbers.setdefault(gram, len(self.numbers)) for gram in ngrams(words(text), n)) for text in texts
        ]
        parted = (gram.split(" ") for gram in self.numbers)
        self._shapes = {(said[0], said[(n - 1) // 2], said[-1]) for said in parted}

    def found(self, said: Sequence[str]) -> list[tuple[int, int]]:
        """Numbers of the n-grams that stand in some words, each with the word that it begins at."""
        last, numbers = self.n - 1, self.numbers
        shapes, places = self._shapes, enumerate(zip(said, said[last // 2 :], said[last:], strict=False))
        begins = [place for place, shape in places if shape in shapes]
        grams = ((numbers.get(" ".join(said[place : place + self.n])), place) for place in begins)
        return [(number, place) for number, place in grams if number is not None]

    def spans(self, text: str) -> list[Span]:
        """Each n-gram that stands in a text."""
        if not (found := self.found(words(text))):
            return []
        places = _places(text)
        return [Span(number, places[place][0], places[place + self.n - 1][1]) for number, place in found]


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
    counts = sorted(len(words(text)) for text in texts)
    return min(13, max(8, counts[int(0.05 * len(counts))]))


def item_texts(path: Path) -> list[tuple[str, str]]:
    """The lines of a file of items, and all that each says, cleaned as documents are. Blank lines are allowed.

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
                    found.append((line.rstrip("\n"), clean_text(" ".join(said))))
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
