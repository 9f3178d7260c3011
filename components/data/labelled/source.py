"""What a source of labelled texts is, and what those have in common that are made from conversations."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, model_validator

from components.data.records import Demonstration, RecordError, read_records
from components.sections.base import Count, section

Row: TypeAlias = dict[str, Any]  # an item's keys, as `components.evaluation.items` has them
Said: TypeAlias = tuple[str, list[str]]  # a message's words, and what its conversation shares a split with, before them
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


@section
class Planted(LabelledSource):
    """Rows made of messages of conversations that have so many words; and how many rows of each split."""

    min_words: Annotated[int, Field(ge=2, lt=2**31)]  # of one word there is no order and no half
    max_words: Count
    train: Count
    validation: Count
    test: Count

    @model_validator(mode="after")
    def _words_are_between(self) -> "Planted":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        return self

    @abstractmethod
    def made(self, said: Sequence[Said], draw: random.Random) -> list[Row]:
        """The rows that messages in a random order give.

        Raises:
            RecordError: they give none.
        """

    def rows(self, conversations: Path | None, *, seed: int) -> Mapping[str, list[Row]]:
        if conversations is None:
            raise RecordError("labelled.source needs conversations: feed `demonstrations` to the node, or name files")
        found: dict[str, list[Row]] = {}
        for split in SPLITS:
            draw, path, count = random.Random(f"{seed} {split}"), conversations / f"{split}.jsonl", getattr(self, split)
            said = list(utterances(path, min_words=self.min_words, max_words=self.max_words))
            draw.shuffle(said)
            rows = self.made(said, draw)
            if len(rows) < count:
                raise RecordError(f"{path} gives {len(rows)} rows of the {count} that are asked for: ask for fewer")
            found[split] = draw.sample(rows, count)
        return found


def utterances(path: Path, *, min_words: int, max_words: int) -> Iterator[Said]:
    """The messages of conversations of so many words, lower-cased as GPT's texts were, with their group."""
    for record in read_records(path, Demonstration):
        for message in record.messages:
            words = message.content.lower().split()
            if min_words <= len(words) <= max_words:
                yield record.group or record.id, words
