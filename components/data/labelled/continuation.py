"""Whether two texts are the halves of one message: planted tasks for the transformations of two texts."""

import random
from collections.abc import Callable, Container, Sequence
from typing import Literal

from components.data.labelled.source import Planted, Row, Said
from components.data.records import RecordError
from components.sections.base import section

CHOICES = 4
TRIES = 1000
Half = tuple[str, str, str]  # its message's group, how it begins and how it goes on
Other = Callable[[Half, Container[str]], str]


@section
class Continuation(Planted):
    """Messages cut in the middle, and how another one goes on.

    entailment: whether the second text goes on with the first. similarity: the same, the texts in either order.
    multiple_choice: which of four goes on with it.
    """

    kind: Literal["continuation"]
    form: Literal["entailment", "similarity", "multiple_choice"]

    def made(self, said: Sequence[Said], draw: random.Random) -> list[Row]:
        make = {"entailment": entailment, "similarity": similarity, "multiple_choice": multiple_choice}[self.form]
        halves = [
            (group, " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])) for group, words in said
        ]
        other = elsewhere(halves, draw)
        return [make(half, place, other) for place, half in enumerate(halves)]


def elsewhere(halves: list[Half], draw: random.Random) -> Other:
    """What gives the second half of a message of another conversation than a half's, other than some texts."""

    def other(half: Half, without: Container[str]) -> str:
        for _ in range(TRIES):
            group, _, second = draw.choice(halves)
            if group != half[0] and second not in without:
                return second
        raise RecordError("the messages are of too few conversations, or too much alike, to go on with another one")

    return other


def entailment(half: Half, place: int, other: Other) -> Row:
    """A beginning, and every other time what goes on with it."""
    group, first, second = half
    goes_on = place % 2 == 0
    return {
        "premise": first,
        "hypothesis": second if goes_on else other(half, (second,)),
        "label": "goes on" if goes_on else "does not",
        "group": group,
    }


def similarity(half: Half, place: int, other: Other) -> Row:
    """The same with its texts in either order."""
    row = entailment(half, place // 2, other)
    texts = (row["premise"], row["hypothesis"])
    first, second = texts if place % 2 else texts[::-1]
    return {"first": first, "second": second, "label": row["label"], "group": row["group"]}


def multiple_choice(half: Half, place: int, other: Other) -> Row:
    """A beginning and four different texts, one of which goes on with it."""
    group, first, second = half
    choices = [second]
    while len(choices) < CHOICES:
        choices.append(other(half, choices))
    choices.insert(place % CHOICES, choices.pop(0))
    return {"query": first, "choices": choices, "gold": place % CHOICES, "group": group}


SECTION = Continuation
