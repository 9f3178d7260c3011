"""Words and sentences of a text, as evaluations tell them apart."""

import random
import re
import string
from collections import Counter
from collections.abc import Sequence

# Patterns of what has a point of its own: initials and titles.
SHORT = ("[A-Z]", "Mr", "Mrs", "Ms", "Dr", "St", "Jr", "Sr", "No", "vs", "Co")
_NOT_SHORT = "".join(rf"(?<!\b{own}\.)" for own in SHORT)
_SENTENCE = re.compile(rf"(?:(?<=[.!?])|(?<=[.!?][\"'”’)])){_NOT_SHORT}\s+|\n+")
_WORD = re.compile(r"\s*([^\W\d_]+(?:['’-][^\W\d_]+)*)")
_INSIDE = re.compile(r"[^\W\d_]|['’-]$|['’-][^\W\d_]")  # what may go on with a word
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def sentences(text: str) -> list[str]:
    """A text's sentences: ended by a point, a question or an exclamation mark and a blank, or by the line.

    A point behind an initial or a title ends none; a quotation mark or a bracket behind the point belongs to it.
    """
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def random_sentences(found: Sequence[str], count: int, seed: int) -> list[str]:
    """So many of some sentences, drawn by seed, in the order in which they stand."""
    places = random.Random(seed).sample(range(len(found)), min(count, len(found)))
    return [found[place] for place in sorted(places)]


def before(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of some others in it."""
    for stop in stops:
        text = text.split(stop)[0]
    return text


def first_word(text: str) -> tuple[str, bool]:
    """The word that a text begins with, after blanks, and whether it has come to its end; "" if none begins."""
    match = _WORD.match(text)
    if match is None:
        return "", bool(text.strip())
    rest = text[match.end() :].rstrip("\ufffd")  # bytes of a character that is not whole yet
    return match.group(1), bool(rest) and _INSIDE.match(rest) is None


def plain_words(text: str) -> list[str]:
    """Lower-case words without punctuation and articles (SQuAD, arXiv:1606.05250, section 6.1)."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return _ARTICLE.sub(" ", bare).split()


def f1(reply: str, answer: str) -> float:
    """Harmonic mean of the precision and recall of a reply's words, each counted as often as it stands there.

    Where either has no word, 1 if neither has and else 0.
    """
    own, right = plain_words(reply), plain_words(answer)
    if not own or not right:
        return float(own == right)
    shared = sum((Counter(own) & Counter(right)).values())
    return 2 * shared / (len(own) + len(right))
