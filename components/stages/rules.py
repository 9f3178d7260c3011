"""Rules: texts whose rule only their own lines tell, for what GPT-3 calls learning in context (section 2).

A text's rule moves every letter a number of places on in the alphabet, from z to a: `a d` and `y b` are of the rule 3.
Which of the rules a text is of stands nowhere; a line after others of its text can be told, a first one only guessed.
"""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from string import ascii_lowercase as LETTERS
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.sections.base import Count, Seed, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Rules:
    """How many rules there are, and texts of each length."""

    rules: Annotated[int, Field(ge=2, le=26)]
    lines: Count  # a text
    training_texts: Count
    validation_texts: Count
    items: Count  # questions, and as many examples; each is one of 26 letters


def line(letter: str, rule: int) -> str:
    """A letter and where the rule moves it."""
    return f"{letter} {LETTERS[(LETTERS.index(letter) + rule) % len(LETTERS)]}"


def text(params: Rules, draw: random.Random) -> str:
    """Lines of one rule, no letter twice before all were there."""
    rule = draw.randrange(1, params.rules + 1)
    letters = [letter for _ in range(-(-params.lines // len(LETTERS))) for letter in draw.sample(LETTERS, len(LETTERS))]
    return "".join(line(letter, rule) + "\n" for letter in letters[: params.lines])


def run(work: "Work[Rules]") -> None:
    """The whole stage."""
    from components.data.chat import ChatTokenizer
    from components.data.tokenizer import train_tokenizer
    from components.data.tokens import TokenFileWriter

    params, draw = work.section, random.Random(work.seed)
    path = work.path("tokenizer.json")
    train_tokenizer([], vocab_size=0).save(str(path))
    tokenizer = ChatTokenizer.load(path)
    for split, count in (("train", params.training_texts), ("validation", params.validation_texts), ("test", 1)):
        writer = TokenFileWriter(
            work.path(f"tokens/{split}.json"), vocab_size=tokenizer.vocab_size, endoftext=tokenizer.endoftext
        )
        texts = [text(params, draw) for _ in range(count)]
        writer.extend(texts, [tokenizer.encode_text(each) for each in texts])
        writer.close()
    rule = draw.randrange(1, params.rules + 1)
    for name in ("questions", "examples"):
        _write(work.path(f"items/{name}.jsonl"), (draw.choice(LETTERS) for _ in range(params.items)), rule)
    work.metrics |= {"rules": params.rules, "asked": rule, "training_texts": params.training_texts}


def _write(path: Path, letters: Iterable[str], rule: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = (line(letter, rule).split() for letter in letters)
    # A letter that is asked again is no new evidence: intervals are over letters.
    rows = ({"query": query, "answer": answer, "group": query} for query, answer in pairs)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


STAGE = Stage(
    Rules,
    run,
    reads={},
    makes={"tokenizer.json": Kind.TOKENIZER, "tokens": Kind.TOKENS, "items": Kind.ITEMS},
    shared={"seed": Seed},
)
