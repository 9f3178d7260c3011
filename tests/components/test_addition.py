"""Addition problems are minGPT's strings, and what is held out is nowhere in the training text."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from components import params as parameters
from components.data.chat import ChatTokenizer
from components.data.tokens import TokenFile
from components.pipelines import open_pipeline
from components.stages import addition
from components.stages.addition import Addition, held_out, written
from components.work import Work
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline("adder", ROOT)
FEW = Addition(digits=2, training_lines=3000, validation_problems=40, test_problems=50)


# By its code: its docstring has "0639054" for the second, which is 450 backwards.
@pytest.mark.parametrize(("problem", "string"), [((85, 50), "8550531"), ((6, 39), "0639540"), ((99, 99), "9999891")])
def test_strings_are_those_of_mingpt(problem, string):
    assert "".join(written(problem, 2)) == string


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The stage's outputs, and the lines of each split's text."""
    root = tmp_path_factory.mktemp("addition")
    out = root / PIPELINE.artifacts / "addition"
    out.mkdir(parents=True)
    tree = parameters.read_tree(ROOT / PIPELINE.params_file)
    section, shared = parameters.of_node(tree, PIPELINE, "addition")
    changes = {name: getattr(FEW, name) for name in ("training_lines", "validation_problems", "test_problems")}
    addition.run(Work("addition", PIPELINE, replace(section, **changes), shared, out, Path(), Path(), None))
    tokenizer = ChatTokenizer.load(out / "tokenizer.json")
    lines = {}
    for split in ("train", "validation", "test"):
        ids = TokenFile(out / f"tokens/{split}.json", context_length=8).read(0, 10**9).tolist()
        assert ids[-1] == tokenizer.endoftext
        lines[split] = tokenizer.decode(ids[:-1]).split("\n")[1:-1]
    return out, lines


def items(out, name):
    return [json.loads(line) for line in (out / f"items/{name}.jsonl").read_text().splitlines()]


def held_lines(lines):
    return set(lines["validation"]) | set(lines["test"])


def test_every_line_is_a_sum(made):
    _, lines = made
    assert [len(lines[split]) for split in ("train", "validation", "test")] == [3000, 40, 50]
    for line in (line for own in lines.values() for line in own):
        assert len(line) == 7 and int(line[:2]) + int(line[2:4]) == int(line[:3:-1])


def test_what_is_held_out_is_asked_and_never_trained_on(made):
    out, lines = made
    for split in ("validation", "test"):
        asked = [row["query"] + row["answer"] for row in items(out, split)]
        assert [text.split("\n")[-1] for text in asked] == lines[split]
        before = {tuple(text.split("\n")[1:-1]) for text in asked}
        assert len(before) == 1 and len(held_lines(lines) & set(*before)) == 0 and len(*before) == 4
    assert len(held_lines(lines)) == 90
    assert not set(lines["train"]) & held_lines(lines)
    longer = items(out, "longer")
    assert len(longer) == 50 and {(len(row["query"]), len(row["answer"])) for row in longer} == {(4 * 8 + 7, 4)}


def test_a_digit_is_a_token(made):
    out, _ = made
    tokenizer = ChatTokenizer.load(out / "tokenizer.json")
    assert len(tokenizer.encode_text("\n8550531\n")) == 9
    assert tokenizer.vocab_size == 256 + len(tokenizer.special_ids)


def test_held_out_problems_differ_and_may_be_any():
    assert sorted(held_out(100, 1, random.Random(0))) == [(one, other) for one in range(10) for other in range(10)]


def test_some_problems_must_be_left_to_train_on():
    with pytest.raises(ValueError, match="100 problems of 1 digits: none is left"):
        Addition(digits=1, training_lines=1, validation_problems=50, test_problems=50)
