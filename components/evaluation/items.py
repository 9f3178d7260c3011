"""The items of evaluations, one JSON object a line, and reading them with every problem named.

A row may have more keys than its kind asks for: published files carry labels of their own. `group` names what items
share, such as a passage that several are about; intervals resample groups. Without it a row is a group of its own.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from components.data.records import Message, Problems, RecordError, Text, not_utf8, reason

LENIENT = ConfigDict(extra="ignore", strict=True)


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Item:
    """What all kinds have."""

    group: str = ""


Chosen = TypeVar("Chosen", "Choice", "Gap")


def check_gold(item: Chosen) -> Chosen:
    """An item whose right choice is there.

    Raises:
        ValueError: it is not.
    """
    if item.gold >= len(item.choices):
        raise ValueError(f"gold is {item.gold}, and the {len(item.choices)} choices are counted from 0")
    return item


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Choice(Item):
    """A question, possible answers, and the number of the right one, from 0."""

    query: str
    choices: Annotated[tuple[Text, ...], Field(min_length=2)]
    gold: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _gold_is_a_choice(self) -> "Choice":
        return check_gold(self)


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class MinimalPair(Item):
    """Two sentences that differ in one thing, of which the first is right (BLiMP's keys)."""

    sentence_good: Text
    sentence_bad: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Cloze(Item):
    """A text and how it goes on; a space between them belongs to the completion (the keys of GPT-3's arithmetic)."""

    context: str
    completion: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Gap(Item):
    """A text with a gap, what may stand in it, and the number of the right one, from 0 (Winograd's schemas)."""

    before: str
    after: Text
    choices: Annotated[tuple[Text, ...], Field(min_length=2)]
    gold: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _gold_is_a_choice(self) -> "Gap":
        return check_gold(self)


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Translated(Item):
    """A sentence and its translation."""

    source: Text
    target: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Summarized(Item):
    """A text and its summary."""

    text: Text
    summary: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Answered(Item):
    """A question and the answer that a reply must be."""

    query: Text
    answer: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Script(Item):
    """A conversation that ends with the user's turn, and a regular expression that a good reply has a match of."""

    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    pattern: Text

    @model_validator(mode="after")
    def _the_user_is_answered(self) -> "Script":
        if self.messages[-1].role != "user":
            raise ValueError("the last message is not the user's")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        return self

    def is_met(self, reply: str) -> bool:
        """Whether a reply is as it should be, upper and lower case alike."""
        return re.search(self.pattern, reply, re.IGNORECASE | re.DOTALL) is not None


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Passage(Item):
    """A text, of which the likelihood is asked."""

    text: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Preference(Item):
    """A prompt, a text or a conversation that ends with the user's turn, and a better and a worse reply."""

    prompt: Text | tuple[Message, ...]
    chosen: str
    rejected: str

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt as a conversation."""
        return (Message(role="user", content=self.prompt),) if isinstance(self.prompt, str) else self.prompt


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Labelled(Item):
    """What belongs to one of some classes, named by `label`."""

    label: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class LabelledText(Labelled):
    """A text (SST-2, CoLA)."""

    text: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Entailment(Labelled):
    """Whether one text follows from another (SNLI, RTE)."""

    premise: Text
    hypothesis: Text


@dataclass(frozen=True, kw_only=True, config=LENIENT)
class Similarity(Labelled):
    """How alike two texts are, neither being the first (MRPC, QQP)."""

    first: Text
    second: Text


Kind = TypeVar("Kind", bound=Item)


def read_items(path: Path, kind: type[Kind]) -> list[Kind]:
    """All items of a file. Blank lines are allowed.

    Raises:
        RecordError: there is no such file, it has no row, or rows break their schema; the message lists them.
    """
    adapter, problems = TypeAdapter(kind), Problems()
    found: list[Kind] = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    if line.strip():
                        found.append(adapter.validate_json(line))
                except ValidationError as error:
                    problems.add(f"{path}:{number}", reason(error))
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}; docs/evaluation.md says what an evaluation reads") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: {not_utf8(error)}") from None
    problems.check(f"row(s) that are no {kind.__name__} (docs/evaluation.md has the keys)")
    if not found:
        raise RecordError(f"{path} has no row")
    return found


def groups_of(items: Sequence[Item]) -> list[str]:
    """What each item varies together with; a row without a group has one of its own."""
    return [f"group {item.group}" if item.group else f"row {number}" for number, item in enumerate(items)]
