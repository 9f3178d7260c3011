"""Held out: of texts that no stage trains on, items for zero-shot evaluations (GPT-2, sections 3.1 and 3.3).

Last words, nearly as LAMBADA has them (arXiv:1606.06031): sentences whose last word stands in them before and is no
stop word; whether a person could tell it nobody was asked. And whole texts. One folder a split; docs/evaluation.md has
the keys.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from components.sections.base import Count, Seed, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work

SPLITS = ("validation", "test")


@section
class HeldOut:
    """How many items of each kind, at most."""

    last_words: Count
    min_words: Count  # of the sentences before a last word
    max_words: Count
    passages: Count

    @model_validator(mode="after")
    def _min_is_not_over_max(self) -> "HeldOut":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words: {self.min_words} is more than max_words {self.max_words}")
        return self


def last_words(text: str, params: HeldOut) -> Iterator[dict[str, str]]:
    """Contexts of whole sentences, one after another, with the word that each ends with."""
    from components.evaluation.wording import sentences

    said: list[str] = []
    for sentence in sentences(text):
        said.append(sentence)
        count = sum(len(own.split()) for own in said)
        if count - 1 > params.max_words:
            said = []
        elif count - 1 >= params.min_words:
            yield from _asked(" ".join(said))
            said = []


def _asked(text: str) -> Iterator[dict[str, str]]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    context, _, last = text.rpartition(" ")
    word = last.strip(".!?,;:\"'")
    before = {own.strip(".!?,;:\"'()").lower() for own in context.split()}
    if word.isalpha() and word.lower() in before and word.lower() not in ENGLISH_STOP_WORDS:
        yield {"context": context, "completion": f" {word}"}


def run(work: "Work[HeldOut]") -> None:
    """The whole stage."""
    from components.data.chat import ChatTokenizer
    from components.data.documents import documents
    from components.data.jsonl import write_rows

    tokenizer = ChatTokenizer.load(work.read("tokenizer"))
    for split in SPLITS:
        texts = list(documents(work.read("tokens") / f"{split}.json", tokenizer))
        asked = [
            row | {"group": str(place)} for place, text in enumerate(texts) for row in last_words(text, work.section)
        ]
        whole: list[dict[str, str]] = [{"text": text} for text in texts if text.strip()]
        draw, folder = random.Random(work.seed), work.path(f"items/{split}")
        found = {"last_words": _some(asked, work.section.last_words, draw)}
        found["passages"] = _some(whole, work.section.passages, draw)
        for name, rows in found.items():
            _check(rows, name, split)
            write_rows(folder / f"{name}.jsonl", rows)
        work.metrics[split] = {name: len(rows) for name, rows in found.items()}


def _some(rows: Sequence[dict[str, str]], most: int, draw: random.Random) -> list[dict[str, str]]:
    return [rows[place] for place in sorted(draw.sample(range(len(rows)), min(most, len(rows))))]


def _check(rows: Sequence[dict[str, Any]], name: str, split: str) -> None:
    """Raises: RecordError: there is not one, which the evaluation would say after hours."""
    from components.data.records import RecordError

    if not rows:
        raise RecordError(
            f"no text of the {split} split gives {name}: bring more of it (prepare.{split}_fraction), or widen "
            "held_out.min_words and max_words"
        )


STAGE = Stage(
    HeldOut,
    run,
    reads={"tokenizer": Kind.TOKENIZER, "tokens": Kind.TOKENS},
    makes={"items": Kind.ITEMS},
    shared={"seed": Seed},
)
