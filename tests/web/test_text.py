"""Text of tokens as they come: the pieces are the whole, whatever it is cut into."""

import random

import pytest

from components.data.chat import ChatTokenizer
from components.data.tokenizer import train_tokenizer
from components.web.text import Ending, Trim, Writer


@pytest.fixture(scope="module")
def tokenizer():
    return ChatTokenizer(train_tokenizer(["hello hi bye"] * 20, vocab_size=300))


def written(tokenizer, ids, stops=(), *, trim=False):
    writer, pieces = Writer(tokenizer, stops, trim=trim), []
    for place, token in enumerate(ids):
        pieces.append(writer.feed(token, last=place == len(ids) - 1))
        if writer.stopped:
            break
    return pieces


def test_pieces_are_the_text_and_no_character_comes_in_parts(tokenizer):
    text = "hello ünï 안녕하세요 👩‍👩‍👧 � bye"
    pieces = written(tokenizer, [*tokenizer.encode_text(text), tokenizer.end])
    assert "".join(pieces) == text
    assert len([piece for piece in pieces if piece]) > 15
    assert all("\ufffd" not in piece for piece in pieces if "� " not in piece and piece != "�")


@pytest.mark.parametrize("seed", range(8))
def test_any_tokens_are_what_the_tokenizer_makes_of_them(tokenizer, seed):
    draws = random.Random(seed)
    ids = [draws.randrange(tokenizer.vocab_size) for _ in range(60)]
    assert "".join(written(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        (["bye"], "hello hi "),
        (["hi", "bye"], "hello "),
        (["o h", "lo"], "hel"),
        (["xyz"], "hello hi bye"),
        (["byebye"], "hello hi bye"),
        (["hello hi bye"], ""),
        (["h"], ""),
    ],
)
def test_a_reply_ends_before_its_stop_text_of_which_nothing_is_said(tokenizer, stops, said):
    for ids in (tokenizer.encode_text("hello hi bye"), [tokenizer.tokenizer.token_to_id(c) for c in "helloĠhiĠbye"]):
        assert "".join(written(tokenizer, ids, stops)) == said


def test_only_what_may_become_a_stop_text_is_held_back():
    ending = Ending(["aab"])
    assert [ending.feed(each) for each in ("xa", "a", "a", "c", "aa", "b!")] == ["x", "", "a", "aac", "", ""]
    assert ending.stopped


def test_blanks_around_a_reply_are_not_said():
    trim = Trim()
    assert [trim.feed(each) for each in (" ", "\n a ", " b", "c \n", "", " ")] == ["", "a", "  b", "c", "", ""]
