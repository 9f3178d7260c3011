"""Labelled rows as sequences that a language model reads (GPT, figure 1 and section 3.3).

start text extract                              a class is read at the extract token
start premise delimiter hypothesis extract      the same
start first delimiter second extract            and with the texts in the other order, both states added
start query delimiter choice extract            one for each choice, of which the likeliest is taken
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from components.data.chat import ChatTokenizer
from components.data.records import RecordError
from components.evaluation.items import Choice, Entailment, Item, LabelledText, Similarity

START, DELIMITER, EXTRACT = MARKERS = ("<|start|>", "<|delimiter|>", "<|extract|>")  # added at fine-tuning
Texts: TypeAlias = tuple[str, ...]
Name = Literal["classification", "entailment", "similarity", "multiple_choice"]


@dataclass(frozen=True)
class Transformation:
    """What an item is, and the texts of each of its sequences.

    chooses: whether each sequence is a choice with a score of its own; else their states are added, and each class has
    a score.
    """

    item: type[Item]
    sequences: Callable[[Any], list[Texts]]
    chooses: bool = False


TRANSFORMATIONS: dict[str, Transformation] = {
    "classification": Transformation(LabelledText, lambda item: [(item.text,)]),
    "entailment": Transformation(Entailment, lambda item: [(item.premise, item.hypothesis)]),
    # Sorted, so that the two passes are the very same whichever text is called the first.
    "similarity": Transformation(Similarity, lambda i: sorted([(i.first, i.second), (i.second, i.first)])),
    "multiple_choice": Transformation(Choice, lambda item: [(item.query, each) for each in item.choices], chooses=True),
}


def encode(texts: Texts, tokenizer: ChatTokenizer, context_length: int) -> list[int]:
    """A sequence's ids. A text that is longer than its share of the context loses its end.

    Shares are equal, as in the released code, which cuts each of two texts to half of the context less two.

    Raises:
        ValueError: the tokenizer lacks the markers.
    """
    found = [tokenizer.tokenizer.token_to_id(marker) for marker in MARKERS]
    start, delimiter, extract = (number for number in found if number is not None)
    share = (context_length - len(texts) - 1) // len(texts)
    ids: list[int] = []
    for text in texts:
        ids += [delimiter if ids else start, *tokenizer.encode_text(text)[:share]]
    return [*ids, extract]


def encode_all(
    items: Sequence[Item], name: Name, tokenizer: ChatTokenizer, context_length: int
) -> list[list[list[int]]]:
    """The sequences of each item."""
    sequences = TRANSFORMATIONS[name].sequences
    return [[encode(texts, tokenizer, context_length) for texts in sequences(item)] for item in items]


def places(items: Sequence[Any], name: Name, classes: Sequence[str], *, path: Path) -> list[int]:
    """The number of each item's class, or of its right choice.

    Raises:
        RecordError: an item's class is none of those.
    """
    if TRANSFORMATIONS[name].chooses:
        return [item.gold for item in items]
    numbers = {label: number for number, label in enumerate(classes)}
    unknown = sorted({item.label for item in items} - numbers.keys())
    if unknown:
        raise RecordError(
            f"{path}: no model was trained on the class(es) {', '.join(unknown)}, only on {', '.join(classes)}"
        )
    return [numbers[item.label] for item in items]


def classes_of(items: Sequence[Any], name: Name) -> tuple[str, ...]:
    """The classes of some items, sorted; none where they are questions with choices."""
    return () if TRANSFORMATIONS[name].chooses else tuple(sorted({item.label for item in items}))
