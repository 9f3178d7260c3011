"""Addition: problems of a number of digits as minGPT's example writes them, some held out, and longer ones.

`85 + 50 = 135` is `8550531`: both terms filled up with zeros, then the sum backwards, so that each of its digits needs
those before it alone (karpathy/minGPT, projects/adder). A digit is a token. Training text is drawn with repetition from
the problems that are not held out; of problems with a digit more it has none.
"""

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from components.sections.base import Count, Seed, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.data.chat import ChatTokenizer
    from components.work import Work

Problem = tuple[int, int]
LINES_BEFORE = (
    4  # in a query: windows of text hardly ever begin with a line, so that a bare one is what no model has seen
)


@section
class Addition:
    """Problems of `digits`, and how many: to train on, repetitions included, and held out."""

    digits: Annotated[int, Field(ge=1, le=8)]
    training_lines: Count
    validation_problems: Count
    test_problems: Count  # and as many with a digit more

    @model_validator(mode="after")
    def _problems_remain(self) -> "Addition":
        if self.validation_problems + self.test_problems >= 100**self.digits:
            raise ValueError(f"there are {100**self.digits} problems of {self.digits} digits: none is left to train on")
        return self


def written(problem: Problem, digits: int) -> tuple[str, str]:
    """A problem's terms, and its sum backwards, with a digit more."""
    terms = "".join(f"{term:0{digits}}" for term in problem)
    return terms, f"{sum(problem):0{digits + 1}}"[::-1]


def held_out(count: int, digits: int, draw: random.Random) -> list[Problem]:
    """Different problems."""
    return [divmod(number, 10**digits) for number in draw.sample(range(100**digits), count)]


def drawn(params: Addition, without: Iterable[Problem], draw: random.Random) -> Iterator[Problem]:
    """The problems of the training text."""
    forbidden, count = frozenset(without), 0
    while count < params.training_lines:
        problem = divmod(draw.randrange(100**params.digits), 10**params.digits)
        if problem not in forbidden:
            count += 1
            yield problem


def run(work: "Work[Addition]") -> None:
    """The whole stage."""
    from components.data.chat import ChatTokenizer
    from components.data.tokenizer import train_tokenizer

    params, draw = work.section, random.Random(work.seed)
    apart = held_out(params.validation_problems + params.test_problems, params.digits, draw)
    validation, test = apart[: params.validation_problems], apart[params.validation_problems :]
    path = work.path("tokenizer.json")
    train_tokenizer([], vocab_size=0).save(str(path))
    tokenizer = ChatTokenizer.load(path)
    for split, problems in (("train", drawn(params, apart, draw)), ("validation", validation), ("test", test)):
        _write_tokens(work.path(f"tokens/{split}.json"), problems, params.digits, tokenizer)
    longer = held_out(params.test_problems, params.digits + 1, draw)
    before = _text(islice(drawn(params, apart, draw), LINES_BEFORE), params.digits)
    _write_items(work.path("items/validation.jsonl"), validation, params.digits, before)
    _write_items(work.path("items/test.jsonl"), test, params.digits, before)
    _write_items(work.path("items/longer.jsonl"), longer, params.digits + 1, before)
    work.metrics |= {"problems": 100**params.digits, "held_out": len(apart), "training_lines": params.training_lines}


def _text(problems: Iterable[Problem], digits: int) -> str:
    """A line a problem."""
    return "".join("\n" + "".join(written(problem, digits)) for problem in problems)


def _write_tokens(path: Path, problems: Iterable[Problem], digits: int, tokenizer: "ChatTokenizer") -> None:
    """All problems as one text."""
    from components.data.tokens import TokenFileWriter

    text = _text(problems, digits) + "\n"
    writer = TokenFileWriter(path, vocab_size=tokenizer.vocab_size, endoftext=tokenizer.endoftext)
    writer.extend([text], [tokenizer.encode_text(text)])
    writer.close()


def _write_items(path: Path, problems: Iterable[Problem], digits: int, before: str) -> None:
    """What evaluations of exact answers read: a problem's terms after other lines, as windows of training have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (written(problem, digits) for problem in problems)
    lines = (json.dumps({"query": f"{before}\n{terms}", "answer": answer}) + "\n" for terms, answer in rows)
    path.write_text("".join(lines))


STAGE = Stage(
    Addition,
    run,
    reads={},
    makes={"tokenizer.json": Kind.TOKENIZER, "tokens": Kind.TOKENS, "items": Kind.ITEMS},
    shared={"seed": Seed},
)
