"""Whether a text's words stand in their order: a planted task, on which one can see what pretraining brings."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from components.data.labelled.source import LabelledSource, Row, shuffled, utterances
from components.data.records import RecordError
from components.sections.base import Count, section


@section
class WordOrder(LabelledSource):
    """Messages as people wrote them, and others with `moved` of their words in other places; as many of each."""

    kind: Literal["word_order"]
    moved: Count
    min_words: Count
    max_words: Count
    train: Count
    validation: Count
    test: Count

    def rows(self, conversations: Path | None, *, seed: int) -> Mapping[str, list[Row]]:
        if conversations is None:
            raise RecordError("labelled.source.kind word_order needs conversations: feed `demonstrations`")
        found: dict[str, list[Row]] = {}
        for split in ("train", "validation", "test"):
            draw, path = random.Random(f"{seed} {split}"), conversations / f"{split}.jsonl"
            said = list(utterances(path, min_words=self.min_words, max_words=self.max_words))
            draw.shuffle(said)
            rows = [
                {"text": " ".join(words), "label": "kept", "group": group}
                if place % 2
                else {"text": " ".join(moved(words, self.moved, draw)), "label": "moved", "group": group}
                for place, (group, words) in enumerate(said)
            ]
            found[split] = shuffled(rows, getattr(self, split), draw, path=path)
        return found


def moved(words: list[str], count: int, draw: random.Random) -> list[str]:
    """The words with `count` of them, or all where they are fewer, in other places than their own among each other.

    Words that are alike may take each other's place; so a text of one word repeated stays as it is.
    """
    places = draw.sample(range(len(words)), min(count, len(words)))
    turned = places[1:] + places[:1]  # a cycle leaves none of them in its place
    result = list(words)
    for source, target in zip(places, turned, strict=True):
        result[target] = words[source]
    return result


SECTION = WordOrder
