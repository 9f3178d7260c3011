"""The second referee: how much a reply reads like what people write, whoever wrote it.

A trigram model of words is counted from human replies that no model was trained on. A reply's surprise is its mean
surprisal a word under it; its score is minus the distance from the median surprise of people's own replies of that
length, of other conversations, in units of how far people are spread on that side (16 % and 84 % quantiles). Text that
nobody would write is too surprising, text that says the same few likely words again and again too little (the expected
information hypothesis: Meister et al. 2022, arXiv:2202.00666).

It shares no term with the gold function (components/labeling/gold.py): it knows neither sentiment nor the user's
message nor a preferred length, and does not look at how a reply ends. Nothing trains on it.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from components.data.digests import hash_fraction
from components.data.records import Demonstration, RecordError, group_of, read_records

_TOKEN = re.compile(r"[a-z0-9']+|[^\sa-z0-9']")
_SPELLING = 27  # letters and an end: what a letter of an unknown word may be
LENGTHS = (1, 2, 4, 6, 8, 12, 16, 24)  # tokens: where a class of lengths begins
COUNTED_SHARE = 0.75  # of the conversations: counted by the trigram model; the rest says how people differ
LEAST_REPLIES = 20
LEAST_SPREAD = 1e-3  # nats
WORST = 10.0  # spreads: what an empty reply gets, and nothing gets less


def tokens(text: str) -> list[str]:
    """Lower-case words and single signs of a text."""
    return _TOKEN.findall(text.lower())


class TrigramModel:
    """Interpolated word trigrams, smoothed as by Witten and Bell (1991; Chen and Goodman 1999, equation 16).

    A word that was never seen is spelt: 27 signs a letter, the end of the word being one.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in texts:
            said = ["", "", *tokens(text)]
            for place in range(2, len(said)):
                for order in range(3):
                    self.counts[tuple(said[place - order : place])][said[place]] += 1
        self.totals = {context: found.total() for context, found in self.counts.items()}

    def probability(self, word: str, context: tuple[str, ...]) -> float:
        """P(word | the words before it, two at most)."""
        shorter = self.probability(word, context[1:]) if context else _SPELLING ** -(len(word) + 1.0)
        found = self.counts.get(context)
        if found is None:
            return shorter
        return (found[word] + len(found) * shorter) / (self.totals[context] + len(found))

    def surprise(self, text: str) -> float:
        """Mean surprisal a token, in nats; infinite for a text without one."""
        said = ["", "", *tokens(text)]
        if len(said) == 2:
            return math.inf
        places = range(2, len(said))
        return -sum(math.log(self.probability(said[i], tuple(said[i - 2 : i]))) for i in places) / len(places)


class Typicality:
    """Scores replies; knows how people's surprise is spread for each class of lengths."""

    def __init__(self, counted: Iterable[str], others: Iterable[str]) -> None:
        self.model = TrigramModel(counted)
        classes: defaultdict[int, list[float]] = defaultdict(list)
        for text in filter(tokens, others):
            classes[_length_class(text)].append(self.model.surprise(text))
        everything = [value for values in classes.values() for value in values]
        if len(everything) < LEAST_REPLIES:
            raise RecordError(
                f"{len(everything)} held-out human replies are too few to say how people write; {LEAST_REPLIES} are "
                "needed: bring more conversations, or raise prepare.test_fraction"
            )
        self.people = {
            number: _spread(classes[number] if len(classes[number]) >= LEAST_REPLIES else everything)
            for number in range(len(LENGTHS))
        }

    @classmethod
    def of_demonstrations(cls, *paths: Path) -> "Typicality":
        """The referee of a lineage, from conversations that nothing trained on.

        Raises:
            RecordError: they hold too few replies.
        """
        counted: list[str] = []
        others: list[str] = []
        for path in paths:
            for row in read_records(path, Demonstration):
                side = counted if hash_fraction(group_of(row), "referee") < COUNTED_SHARE else others
                side += [message.content for message in row.messages if message.role == "assistant"]
        return cls(counted, others)

    def score(self, reply: str) -> float:
        """Minus the distance of a reply's surprise from people's median, in their spreads; 0 is the middle."""
        if not tokens(reply):
            return -WORST
        low, middle, high = self.people[_length_class(reply)]
        distance = self.model.surprise(reply) - middle
        return -min(WORST, distance / (high - middle) if distance > 0 else distance / (low - middle))


def _length_class(text: str) -> int:
    length = len(tokens(text))
    return sum(length >= start for start in LENGTHS) - 1


def _spread(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = map(float, np.quantile(values, (0.16, 0.5, 0.84)))
    return min(low, middle - LEAST_SPREAD), middle, max(high, middle + LEAST_SPREAD)
