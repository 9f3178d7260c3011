"""Whether a text's words stand in their order: a planted task, on which one can see what pretraining brings."""

import random
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from components.data.labelled.source import Planted, Row, Said
from components.sections.base import section


@section
class WordOrder(Planted):
    """Messages as people wrote them, and others with `moved` of their words in other places; as many of each."""

    kind: Literal["word_order"]
    moved: Annotated[int, Field(ge=2, lt=2**31)]

    def made(self, said: Sequence[Said], draw: random.Random) -> list[Row]:
        return [
            {"text": " ".join(words), "label": "kept", "group": group}
            if place % 2
            else {"text": " ".join(moved(words, self.moved, draw)), "label": "moved", "group": group}
            for place, (group, words) in enumerate(said)
        ]


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
