"""The gold function: what the simulated labeler likes, and for that labeler the first referee of the evaluation.

A reply's score is the sum of five parts, each in [0, 1] before its weight:

| part | weight | 1 when |
|---|---|---|
| friendliness | 1.0 | VADER's compound sentiment of the reply is +1; 0.5 at neutral |
| relevance | 1.0 | half of the informative weight (inverse document frequency) of the user's words comes back |
| ending | 0.5 | the last character is `.`, `!` or `?` |
| length | 0.5 | the reply has 5 to 25 words, falling off linearly to 0 words and to 50 |
| freshness | 0.5 | no pair of neighbouring words occurs twice |

Rewards come from a model trained on noisy rankings by it, as people's would be; studies may ask for it itself, by
`ppo.reward: {kind: gold}`. Flattery pleases it, so a second referee judges too (components/evaluation/typicality.py).
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from components.data.records import Demonstration, read_records

WEIGHTS = {"friendliness": 1.0, "relevance": 1.0, "ending": 0.5, "length": 0.5, "freshness": 0.5}
_WORD = re.compile(r"[a-z0-9']+")


def words(text: str) -> list[str]:
    """Lower-case words of a text."""
    return _WORD.findall(text.lower())


class Gold:
    """Scores replies; knows how common each word is in a collection of texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.document_frequency: Counter[str] = Counter()
        self.documents = 0
        for text in texts:
            self.document_frequency.update(set(words(text)))
            self.documents += 1
        self.sentiment = SentimentIntensityAnalyzer()

    @classmethod
    def of_demonstrations(cls, path: Path) -> "Gold":
        """The gold function of a lineage: word frequencies are those of the demonstrations' messages."""
        return cls(message.content for row in read_records(path, Demonstration) for message in row.messages)

    def rarity(self, word: str) -> float:
        """Inverse document frequency, log((1 + documents) / (1 + documents with the word)), in nats."""
        return math.log((1 + self.documents) / (1 + self.document_frequency[word]))

    def parts(self, user: str, reply: str) -> dict[str, float]:
        """The five parts, each in [0, 1], of a reply to the user's last message."""
        said = words(reply)
        if not said:
            return dict.fromkeys(WEIGHTS, 0.0)
        return {
            "friendliness": (self.sentiment.polarity_scores(reply)["compound"] + 1) / 2,
            "relevance": self._relevance(words(user), said),
            "ending": float(reply.rstrip()[-1:] in {".", "!", "?"}),
            "length": min(1.0, len(said) / 5, max(0.0, (50 - len(said)) / 25)),
            "freshness": _freshness(said),
        }

    def score(self, user: str, reply: str) -> float:
        """The weighted sum of the parts, in [0, 3.5]."""
        parts = self.parts(user, reply)
        return sum(weight * parts[name] for name, weight in WEIGHTS.items())

    def _relevance(self, asked: list[str], said: list[str]) -> float:
        # In the order of the words: a set's order differs from process to process, and with it a sum's last bit.
        weight = {word: self.rarity(word) for word in asked}
        total = sum(weight.values())
        found = set(said)
        shared = sum(share for word, share in weight.items() if word in found)
        return min(1.0, 2 * shared / total) if total else 0.0


def _freshness(said: list[str]) -> float:
    """Distinct share of neighbouring word pairs."""
    pairs = list(pairwise(said))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
