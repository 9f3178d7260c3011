"""Demonstrations as rows of tokens: what is cut, what is left out, what is trained on."""

import json

import pytest

from components.data.demonstrations import load_demonstrations, split_conversation
from components.data.records import RecordError
from tests.components.talks import CHAT, LONG


def test_an_answer_after_too_long_a_turn_is_left_out_and_never_trained_on_as_nothing(tokenizer, tmp_path, caplog):
    chat = [{"role": "user", "content": LONG}, CHAT[1], {"role": "user", "content": "hello there"}, CHAT[1]]
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"id": "a", "messages": chat}) + "\n")
    with caplog.at_level("INFO"):
        rows = load_demonstrations(path, tokenizer, max_tokens=30)
    assert rows.loss_mask.any(dim=1).tolist() == [True]
    assert rows.input_ids[0, : len(tokenizer.encode_chat(chat[2:]).input_ids)].tolist() == (
        tokenizer.encode_chat(chat[2:]).input_ids
    )
    assert "1 answer(s) left out" in caplog.text
    path.write_text(json.dumps({"id": "a", "messages": chat[:2]}) + "\n")
    with pytest.raises(RecordError, match="no answer that begins within 30 tokens"):
        load_demonstrations(path, tokenizer, max_tokens=30)


def test_no_demonstration_is_an_error_that_names_the_file(tokenizer, tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(RecordError, match=r"train.jsonl is empty"):
        load_demonstrations(tmp_path / "train.jsonl", tokenizer, max_tokens=20)


def test_what_other_files_hold_comes_after_and_they_may_be_empty(tokenizer, tmp_path):
    names, own = ("train", "nobody", "written"), [{"role": "user", "content": "i am fine, thank you"}, CHAT[1]]
    for name, chats in zip(names, ([CHAT[:2], CHAT], [], [own]), strict=True):
        rows = [json.dumps({"id": str(n), "messages": chat}) + "\n" for n, chat in enumerate(chats)]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    path, *more = (tmp_path / f"{name}.jsonl" for name in names)
    alone = load_demonstrations(path, tokenizer, max_tokens=50)
    rows = load_demonstrations(path, tokenizer, max_tokens=50, more=more)
    written = tokenizer.encode_chat(own)
    assert len(rows.input_ids) == len(alone.input_ids) + 1
    assert rows.input_ids[:-1].equal(alone.input_ids) and rows.loss_mask[:-1].equal(alone.loss_mask)
    assert rows.input_ids[-1, : len(written.input_ids)].tolist() == written.input_ids
    assert rows.loss_mask[-1, : len(written.loss_mask)].tolist() == list(written.loss_mask)
    with pytest.raises(RecordError, match=r"nobody.jsonl is empty"):
        load_demonstrations(more[0], tokenizer, max_tokens=50)


def test_long_conversations_are_cut_between_exchanges_and_nothing_is_lost(tokenizer):
    chat = [{"role": ("user", "assistant")[i % 2], "content": f"turn number {i}"} for i in range(21)]
    pieces = list(split_conversation(tokenizer, chat, max_tokens=60))
    assert all(len(piece.input_ids) <= 60 and piece.input_ids[0] == tokenizer.markers["<|user|>"] for piece in pieces)
    joined = [i for piece in pieces for i in piece.input_ids]
    assert joined == tokenizer.encode_chat(chat[:20]).input_ids  # the last message has no answer
    assert len(pieces) > 3


def test_trained_fraction_is_the_share_of_targets_in_the_loss(tokenizer, tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"id": "a", "messages": CHAT[:2]}) + "\n")
    rows = load_demonstrations(path, tokenizer, max_tokens=50)
    question, answer = (len(tokenizer.encode_text(message["content"])) for message in CHAT[:2])
    assert rows.trained_fraction == pytest.approx((answer + 1) / (question + 1 + answer + 1))
    assert rows.input_ids.shape == (1, 51)
