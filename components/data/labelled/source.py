"""What a source of labelled texts is, and what those have in common that are made from conversations."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from components.data.records import Demonstration, RecordError, read_records

Row: TypeAlias = dict[str, Any]  # an item's keys, as `components.evaluation.items` has them
SPLITS = ("train", "validation", "test")


class LabelledSource(ABC):
    """Makes the rows of each split, in an order that means nothing."""

    @abstractmethod
    def rows(self, conversations: Path | None, *, seed: int) -> Mapping[str, list[Row]]:
        """The rows by split.

        Args:
            conversations: a folder of demonstrations, one file a split, where the node is fed one.
            seed: of what is drawn.

        Raises:
            RecordError: rows cannot be read or made.
        """


def utterances(path: Path, *, min_words: int, max_words: int) -> Iterator[tuple[str, list[str]]]:
    """The messages of conversations of so many words, lower-cased as GPT's texts were, with their group."""
    for record in read_records(path, Demonstration):
        for message in record.messages:
            words = message.content.lower().split()
            if min_words <= len(words) <= max_words:
                yield record.group or record.id, words


def shuffled(rows: list[Row], count: int, draw: random.Random, *, path: Path) -> list[Row]:
    """The first `count` rows of a random order.

    Raises:
        RecordError: there are not so many.
    """
    if len(rows) < count:
        raise RecordError(f"{path} gives {len(rows)} rows of the {count} that are asked for: ask for fewer")
    return draw.sample(rows, count)
