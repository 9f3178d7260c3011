"""Ranked replies as token ids: what was sampled is what is trained on, and nothing that contradicts itself."""

import pytest

from components.data.chat import ChatTokenizer
from components.data.comparisons import encode_reply, load_comparisons
from components.data.records import Comparison, Message, RecordError, write_records
from components.data.tokenizer import train_tokenizer

SAID = (Message(role="user", content="how are you"),)
LIMITS = {"max_prompt_tokens": 16, "max_reply_tokens": 4}


@pytest.fixture(scope="module")
def tokenizer():
    return ChatTokenizer(train_tokenizer(["abcdefgh how are you"] * 3, vocab_size=270))


def row(replies, ranks, **more):
    return Comparison(id="c", messages=SAID, replies=replies, ranks=ranks, **more)


def test_a_text_that_fits_ends_and_one_that_is_cut_does_not(tokenizer):
    letters = tokenizer.encode_text("xyz")
    assert len(letters) == 3
    assert encode_reply(tokenizer, "xyz", max_tokens=4) == [*letters, tokenizer.end]
    assert encode_reply(tokenizer, "xyz", max_tokens=3) == letters


def test_sampled_ids_are_taken_as_they_are(tokenizer, tmp_path):
    """Another cut of the same letters into tokens than the tokenizer's own, one reply ended and one cut."""
    x, y, z = tokenizer.encode_text("xyz")
    sampled = ((x, y, tokenizer.end), (z, y, x, z))
    write_records(tmp_path / "c.jsonl", [row(("xy", "zyxz"), (1, 2), sampled=sampled, ended=(True, False))])
    (found,), _ = load_comparisons(tmp_path / "c.jsonl", tokenizer, **LIMITS)
    assert found.replies == [[x, y, tokenizer.end], [z, y, x, z]]


def test_replies_that_the_cut_makes_equal_teach_nothing(tokenizer, tmp_path):
    rows = [row(("qqqqxx", "qqqqyy"), (1, 2)), row(("qqqqxx", "z", "qqqqyy"), (1, 2, 3)), row(("x", "y"), (1, 1))]
    write_records(tmp_path / "c.jsonl", rows)
    found, dropped = load_comparisons(tmp_path / "c.jsonl", tokenizer, **LIMITS)
    assert [(len(c.replies), c.ranks) for c in found] == [(2, (1, 2))]
    assert dropped == {"replies_alike": 2, "comparisons_tied": 2}


def test_where_nothing_is_left_to_learn_the_file_is_named(tokenizer, tmp_path):
    write_records(tmp_path / "ties.jsonl", [row(("x", "y"), (1, 1))] * 3)
    with pytest.raises(RecordError, match=r"ties.jsonl has nothing to learn from: in all of its 3 comparisons"):
        load_comparisons(tmp_path / "ties.jsonl", tokenizer, **LIMITS)
