"""Whether two texts are the halves of one message: planted tasks for the transformations of two texts."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from components.data.labelled.source import LabelledSource, Row, shuffled, utterances
from components.data.records import RecordError
from components.sections.base import Count, section

CHOICES = 4
Half = tuple[str, str, str]  # its message's group, how it begins and how it goes on


@section
class Continuation(LabelledSource):
    """Messages cut in the middle, and how another one goes on.

    entailment: whether the second text goes on with the first. similarity: the same, the texts in either order.
    multiple_choice: which of four goes on with it.
    """

    kind: Literal["continuation"]
    form: Literal["entailment", "similarity", "multiple_choice"]
    min_words: Count
    max_words: Count
    train: Count
    validation: Count
    test: Count

    def rows(self, conversations: Path | None, *, seed: int) -> Mapping[str, list[Row]]:
        if conversations is None:
            raise RecordError("labelled.source.kind continuation needs conversations: feed `demonstrations`")
        make = {"entailment": entailment, "similarity": similarity, "multiple_choice": multiple_choice}[self.form]
        found: dict[str, list[Row]] = {}
        for split in ("train", "validation", "test"):
            draw, path = random.Random(f"{seed} {split}"), conversations / f"{split}.jsonl"
            halves = [
                (group, " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :]))
                for group, words in utterances(path, min_words=self.min_words, max_words=self.max_words)
            ]
            draw.shuffle(halves)
            rows = [make(half, place, elsewhere(halves, place, draw)) for place, half in enumerate(halves)]
            found[split] = shuffled(rows, getattr(self, split), draw, path=path)
        return found


def elsewhere(halves: list[Half], place: int, draw: random.Random) -> Callable[[], str]:
    """What gives the second halves of other messages, of other conversations where there are some."""

    def other() -> str:
        for _ in range(len(halves)):
            group, _, second = halves[draw.randrange(len(halves))]
            if group != halves[place][0]:
                return second
        raise RecordError("all messages are of one conversation: there is nothing else to go on with")

    return other


def entailment(half: Half, place: int, other: Callable[[], str]) -> Row:
    """A beginning, and every other time what goes on with it."""
    group, first, second = half
    goes_on = place % 2 == 0
    return {
        "premise": first,
        "hypothesis": second if goes_on else other(),
        "label": "goes on" if goes_on else "does not",
        "group": group,
    }


def similarity(half: Half, place: int, other: Callable[[], str]) -> Row:
    """The same with its texts in either order."""
    row = entailment(half, place // 2, other)
    texts = (row["premise"], row["hypothesis"])
    first, second = texts if place % 2 else texts[::-1]
    return {"first": first, "second": second, "label": row["label"], "group": row["group"]}


def multiple_choice(half: Half, place: int, other: Callable[[], str]) -> Row:
    """A beginning and four texts, one of which goes on with it."""
    group, first, second = half
    choices = [other() for _ in range(CHOICES - 1)]
    choices.insert(place % CHOICES, second)
    return {"query": first, "choices": choices, "gold": place % CHOICES, "group": group}


SECTION = Continuation
