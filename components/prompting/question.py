"""Questions with answers, and whether what was said is the answer."""

import re
from collections import Counter
from collections.abc import Sequence

from pydantic.dataclasses import dataclass

from components.evaluation.items import LENIENT, Answered

_COMMA = re.compile(r"(?<=\d),(?=\d{3}\b)")
_WHOLE = re.compile(r"(?<=\d)\.0+$")


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Question(Answered):
    """A question with its answer and, where somebody wrote it down, how one comes to it."""

    rationale: str = ""


def last_match(pattern: str, text: str) -> str | None:
    """The last match of a pattern in a text, or its first group where it has one; case does not count."""
    matches = [found.group(1 if found.re.groups else 0) for found in re.finditer(pattern, text, re.IGNORECASE)]
    return plain(matches[-1]) if matches and matches[-1] is not None else None


def plain(answer: str) -> str:
    """An answer as it is compared: small letters, no mark at the end, no commas in numbers, no .0 behind them."""
    return _WHOLE.sub("", _COMMA.sub("", answer.strip().rstrip(".,").casefold()))


def majority(answers: Sequence[str | None]) -> int:
    """The place of the first answer that as many agree on as on any; those that say nothing do not vote.

    Of several that are as common the one wins that was said first (self-consistency, arXiv:2203.11171, leaves it open).
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0
    most = max(votes.values())
    return next(place for place, answer in enumerate(answers) if answer is not None and votes[answer] == most)
