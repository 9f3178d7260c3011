"""Rows as people publish them: preferences, ShareGPT, null columns, values that are not text."""

import datetime

import pytest

from components.data.formats.preferences import as_comparison
from components.data.rows import Malformed, Place, as_records


def record(row):
    (found,) = as_records(row, Place("a.jsonl", "a.jsonl", 1, "a"))
    return found


def said(*turns):
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def told(*turns):
    return [{"from": ("human", "gpt")[i % 2], "value": turn} for i, turn in enumerate(turns)]


SYSTEM = {"role": "system", "content": "Be kind."}
TEA = {"messages": said("What is tea?"), "replies": ["A drink.", "A stone."], "ranks": [1, 2]}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is tea?", "chosen": "A drink.", "rejected": "A stone."},
        {"prompt": "Human: What is tea?\n\nAssistant:", "chosen": " A drink.", "rejected": " A stone."},
        {"prompt": "What is tea?", "chosen": said("What is tea?", "A drink."),
         "rejected": said("What is tea?", "A stone.")},
        {"prompt": said("What is tea?"), "chosen": said("What is tea?", "A drink."),
         "rejected": said("What is tea?", "A stone.")},
        {"prompt": " What is tea?\n", "messages": said("What is tea?", "A drink."),
         "chosen": said("What is tea?", "A drink."), "rejected": said("What is tea?", "A stone.")},
        {"chosen": told("What is tea?", "A drink."), "rejected": told("What is tea?", "A stone.")},
        {"conversations": told("What is tea?"), "chosen": {"from": "gpt", "value": "A drink."},
         "rejected": {"from": "gpt", "value": "A stone."}},
        {"chosen": "Human: What is tea?\n\nAssistant: A drink.",
         "rejected": "Human: What is tea?\n\nAssistant: A stone."},
    ],
)  # fmt: skip
def test_a_preference_is_one_question_and_two_replies_however_it_is_published(row):
    found = record(row)
    assert found.kind == "comparisons"
    fields = {key: value for key, value in found.fields.items() if key not in ("id", "group")}
    assert {**fields, "replies": [reply.strip() for reply in fields["replies"]]} == TEA


def test_the_first_turn_of_a_transcript_without_leading_blank_lines_is_kept():
    start = "Human: I have a cat.\n\nAssistant: Nice.\n\nHuman: What is its name?\n\nAssistant: "
    found = as_comparison({"chosen": start + "You did not say.", "rejected": start + "Bob."})
    assert found["messages"] == said("I have a cat.", "Nice.", "What is its name?")


def test_a_prompt_that_is_the_last_of_many_turns_is_stored_once():
    turns = said("hi", "hello", "why?")
    found = as_comparison({"prompt": "why?", "chosen": [*turns, *said("x", "so")[1:]], "rejected": said(
        "hi", "hello", "why?", "no")})  # fmt: skip
    assert found["messages"] == turns


def test_a_reply_that_quotes_a_transcript_is_kept_whole():
    reply = "Sure:\n\nHuman: hi\n\nAssistant: hello"
    assert as_comparison({"prompt": "Write a chat.", "chosen": reply, "rejected": "no"})["replies"] == [reply, "no"]


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Be kind.", "prompt": "What is tea?", "chosen": "A drink.", "rejected": "A stone."},
        {"prompt": [SYSTEM, *said("What is tea?")], "chosen": "A drink.", "rejected": "A stone."},
        {"prompt": "What is tea?", "chosen": [SYSTEM, *said("What is tea?", "A drink.")],
         "rejected": [SYSTEM, *said("What is tea?", "A stone.")]},
        {"system": "Be kind.", "chosen": said("What is tea?", "A drink."),
         "rejected": said("What is tea?", "A stone.")},
    ],
)  # fmt: skip
def test_the_system_message_of_a_preference_is_kept(row):
    assert record(row).fields["messages"] == [SYSTEM, *said("What is tea?")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": None, "rejected": "no"}, "`chosen` is missing or null"),
        ({"prompt": "q", "chosen": "yes"}, "`rejected` is missing or null"),
        ({"prompt": "q", "chosen": "same", "rejected": "same"}, "do not differ"),
        ({"prompt": "q", "chosen": 3, "rejected": "no"}, "`chosen` is a number"),
        ({"prompt": "q", "chosen": ["yes"], "rejected": "no"}, "message 1 of `chosen` is text"),
        ({"prompt": "q", "chosen": [{"role": "assistant", "content": None}], "rejected": "no"}, "has no content"),
        ({"system": "a", "prompt": [SYSTEM, *said("q")], "chosen": "x", "rejected": "y"}, "two different system"),
        ({"prompt": "q", "conversations": said("r"), "chosen": "x", "rejected": "y"}, "keep one"),
        (
            {"prompt": "q", "history": [["a", "b", "c"]], "chosen": "x", "rejected": "y"},
            "`history` is no list of pairs",
        ),
        ({"prompt": "q", "turns": [["a", "b"]], "chosen": "x", "rejected": "y"}, "`turns` is a list of others"),
        ({"messages": None}, "null: messages"),
        ({"messages": said("a", "b"), "conversations": told("a", "b")}, "keep one"),
        ({"messages": said("q"), "replies": ["x", "x"], "ranks": [1, 2]}, "all replies are identical"),
        ({"messages": said("q"), "replies": ["x", "y", "x"], "ranks": [1, 2, 3]}, "replies 1 and 3 are identical"),
        ({"text": b"bytes"}, "`text` is of type bytes"),
        ({"text": {"when": datetime.datetime(2024, 1, 1)}}, "`text.when` is of type datetime"),
        ({"messages": [{"role": "user", "content": "a", "when": datetime.time(1)}]}, "`messages.0.when`"),
        ({"text": "half \ud83d"}, "half of a pair of surrogates"),
        (["text"], "not a list"),
        ("text", "not text"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_reason(row, reason):
    found = record(row)
    assert isinstance(found, Malformed) and found.origin == "a.jsonl:1"
    assert reason in found.reason


def test_columns_that_are_null_are_absent():
    row = {"text": None, "messages": [{"role": "user", "content": "a", "name": None}], "ratings": float("nan")}
    assert record(row).fields == {"id": "a-1", "group": "a.jsonl:1", "messages": said("a")}


def test_sharegpt_conversations_are_messages_and_unknown_speakers_are_left_to_the_schema():
    found = record({"id": "own", "conversations": [{"from": "system", "value": "Be kind."}, *told("hi", "hello")]})
    assert (found.kind, found.fields["messages"]) == ("demonstrations", [SYSTEM, *said("hi", "hello")])
    assert record({"conversations": [{"from": "narrator", "value": "x"}]}).fields["messages"][0]["role"] == "narrator"


def test_an_own_group_is_kept_and_columns_beside_a_preference_are_named():
    found = record({"group": "talk 3", "prompt": "q", "chosen": "x", "rejected": "y", "score": 4.5, "source": "web"})
    assert found.fields["group"] == "talk 3"
    assert found.notes == ("column `score`", "column `source`")
