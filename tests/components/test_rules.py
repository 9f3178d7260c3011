"""Rules: each text has one, and questions and examples are of one of them."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from components import params as parameters
from components.data.chat import ChatTokenizer
from components.data.tokens import TokenFile
from components.pipelines import open_pipeline
from components.stages import rules
from components.stages.rules import Rules, line, text
from components.work import Work
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline("gpt3", ROOT)
FEW = Rules(rules=5, lines=26, training_texts=60, validation_texts=4, items=30)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def moved(before, after):
    return (ord(after) - ord(before)) % 26


def test_lines_by_hand():
    assert [line(letter, 3) for letter in "ayz"] == ["a d", "y b", "z c"]


def test_a_text_has_each_letter_once_and_one_rule():
    draw, found = random.Random(0), set()
    for _ in range(80):
        pairs = [own.split() for own in text(FEW, draw).splitlines()]
        assert sorted(before for before, _ in pairs) == list(ALPHABET)
        (rule,) = {moved(*pair) for pair in pairs}
        found.add(rule)
    assert found == {1, 2, 3, 4, 5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where the stage's outputs lie."""
    root = tmp_path_factory.mktemp("rules")
    out = root / PIPELINE.artifacts / "rules"
    out.mkdir(parents=True)
    section, shared = parameters.of_node(parameters.read_tree(ROOT / PIPELINE.params_file), PIPELINE, "rules")
    work = Work("rules", PIPELINE, replace(section, **vars(FEW)), shared, out, Path(), Path(), None)
    rules.run(work)
    return out, work.metrics


def test_questions_and_examples_are_of_the_rule_that_is_told_nowhere_else(made):
    out, metrics = made
    for name in ("questions", "examples"):
        rows = [json.loads(own) for own in (out / f"items/{name}.jsonl").read_text().splitlines()]
        assert len(rows) == 30
        assert {moved(row["query"], row["answer"]) for row in rows} == {metrics["asked"]}
        assert all(row["group"] == row["query"] for row in rows)  # no letter counts as two in an interval


def test_tokens_are_the_texts_and_a_line_is_four(made):
    out, _ = made
    tokenizer = ChatTokenizer.load(out / "tokenizer.json")
    tokens = TokenFile(out / "tokens/train.json", context_length=8)
    assert tokens.meta.tokens == 60 * (26 * 4 + 1)  # and the end of each text
    assert len(tokenizer.encode_text("a d\n")) == 4
