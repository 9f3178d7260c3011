"""Items of texts that are not trained on: by hand, and of a token file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from components import params as parameters
from components.data.chat import ChatTokenizer
from components.data.documents import documents
from components.data.tokenizer import train_tokenizer
from components.data.tokens import TokenFileWriter
from components.pipelines import open_pipeline
from components.stages import held_out
from components.stages.held_out import HeldOut, last_words
from components.work import Work
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline("gpt2", ROOT)
FEW = HeldOut(last_words=3, min_words=4, max_words=9, passages=2)
TEXTS = [
    "The dog ran home. We saw a Dog. Then it rained all day on us and on them and on all. A cat met a cat!",
    "",
    "One dog, three cats, four dog.",
    "He and she and he and she.",  # a stop word
]


def test_last_words_by_hand():
    # Four words are too few, so two sentences; the third alone is too long and leaves nothing behind; the cat is told.
    assert list(last_words(TEXTS[0], FEW)) == [
        {"context": "The dog ran home. We saw a", "completion": " Dog"},
        {"context": "A cat met a", "completion": " cat"},
    ]
    assert list(last_words(TEXTS[2], FEW)) == [{"context": "One dog, three cats, four", "completion": " dog"}]
    assert list(last_words(TEXTS[3], FEW)) == []


def test_texts_of_a_token_file_come_back_whatever_is_read_at_once(tmp_path, monkeypatch):
    tokenizer = tokens(tmp_path)
    for size in (1, 7, 2**20):
        monkeypatch.setattr("components.data.documents.READ", size)
        assert list(documents(tmp_path / "tokens/test.json", tokenizer)) == TEXTS


def tokens(root):
    train_tokenizer(TEXTS, vocab_size=300).save(str(root / "tokenizer.json"))
    tokenizer = ChatTokenizer.load(root / "tokenizer.json")
    for split in ("validation", "test"):
        path = root / f"tokens/{split}.json"
        writer = TokenFileWriter(path, vocab_size=tokenizer.vocab_size, endoftext=tokenizer.endoftext)
        writer.extend(TEXTS, [tokenizer.encode_text(text) for text in TEXTS])
        writer.close()
    return tokenizer


@pytest.mark.parametrize("most", [1, 9])
def test_the_stage_writes_some_of_each_with_the_text_that_they_are_of(tmp_path, monkeypatch, most):
    monkeypatch.chdir(tmp_path)
    prepared, out = tmp_path / PIPELINE.artifacts / "prepare", tmp_path / PIPELINE.artifacts / "held_out"
    prepared.mkdir(parents=True)
    out.mkdir()
    tokens(prepared)
    section, shared = parameters.of_node(parameters.read_tree(ROOT / PIPELINE.params_file), PIPELINE, "held_out")
    section = replace(section, **vars(replace(FEW, last_words=most, passages=most)))
    held_out.run(Work("held_out", PIPELINE, section, shared, out, tmp_path, Path(), None))
    rows = [json.loads(line) for line in (out / "items/test/last_words.jsonl").read_text().splitlines()]
    assert len(rows) == min(most, 3) and {row["group"] for row in rows} <= {"0", "2"}
    rows = [json.loads(line)["text"] for line in (out / "items/test/passages.jsonl").read_text().splitlines()]
    assert len(rows) == min(most, 3) and all(TEXTS.index(row) != 1 for row in rows)
