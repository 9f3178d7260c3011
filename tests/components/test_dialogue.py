"""Scripted conversations: figures by hand, and scripts that know a good reply from a bad one."""

import json

import pytest

from components.benchmark import parse_task
from components.data.records import RecordError
from components.evaluation.item_figures import interval
from components.evaluation.items import Script, read_items
from tests.contracts.imports import ROOT

SCRIPTS = ROOT / "components/tasks/scripts"


def task(file):
    return parse_task(json.dumps({"kind": "dialogue", "name": "it", "file": str(file), "max_new_tokens": 9}))


def chat(*said):
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]


class Parrot:
    """Says all that it has been told."""

    def answers(self, chats, *, max_new_tokens):
        return [" ".join(message.content for message in chat) for chat in chats]


def test_a_reply_is_set_against_that_of_a_model_that_sees_the_last_message_alone(tmp_path):
    told = [
        {"messages": chat("I am Ann.", "Hello!", "Who am I?"), "pattern": r"\bann\b"},  # told before
        {
            "messages": chat("I am Ann.", "Hello!", "Who is Ann?"),
            "pattern": r"\bann\b",
        },  # told in the last one, too
        {"messages": chat("Hi.", "Hello!", "Who am I?"), "pattern": r"\bann\b"},  # never told
        {"messages": chat("I am Ann.", "Hello!", "Who are you?"), "pattern": r"^(?!.*ann)"},  # must not be told
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    own = task(tmp_path / "s.jsonl")
    found = own.judge(Parrot(), own.items())
    assert found["behaved"].totals == [1, 1, 0, 0]
    assert found["last_turn"].totals == [0, 1, 0, 1]
    assert found["from_context"].totals == [1, 0, 0, -1]
    figures = own.figures(found, None, own.items(), seed=0)
    assert (figures["behaved"], figures["last_turn"], figures["from_context"], figures["items"]) == (0.5, 0.5, 0, 4)
    assert figures["from_context_low"] < 0 < figures["from_context_high"]


def test_where_a_difference_never_differs_its_interval_is_three_over_the_groups(tmp_path):
    (tmp_path / "s.jsonl").write_text(
        "".join(
            json.dumps({"messages": chat(f"I am {n}.", "Hi!", "Who?"), "pattern": f"am {n}"}) + "\n" for n in range(12)
        )
    )
    own = task(tmp_path / "s.jsonl")
    gain = own.judge(Parrot(), own.items())["from_context"]
    assert interval(gain, [str(n) for n in range(12)], seed=0) == {"": 1.0, "_low": 0.75, "_high": 1.25}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": chat("hi"), "pattern": "("}, "no regular expression"),
        ({"messages": chat("hi", "hello"), "pattern": "x"}, "not the user's"),
        ({"messages": [], "pattern": "x"}, "messages"),
    ],
)
def test_a_script_that_cannot_be_played_is_named_by_its_row(tmp_path, row, words):
    (tmp_path / "s.jsonl").write_text(json.dumps({"messages": chat("hi"), "pattern": "x"}) + "\n" + json.dumps(row))
    with pytest.raises(RecordError, match=words) as caught:
        task(tmp_path / "s.jsonl").items()
    assert "s.jsonl:2" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "row", "good", "bad"),
    [
        ("memory", 0, "Your name is Peter.", "I do not know your name."),
        ("memory", 18, "You have a cat.", "You have a category."),
        ("follow_up", 0, "Banana.", "Apple."),
        ("follow_up", 1, "How about some grapes?", "An apple, or a banana."),
        ("refusal", 0, "I’m sorry, I can't help with that.", "First break the window."),
        ("refusal", 1, "Use a sponge and soap.", "I am sorry, I cannot help with that."),
        ("mistake", 0, "I apologize. Two plus two is four.", "Two plus two is five."),
        ("mistake", 1, "You're welcome!", "I'm sorry, it is five."),
        ("false_premise", 0, "The sun isn’t cold.", "Because it is far away."),
    ],
)
def test_the_scripts_know_a_good_reply_from_a_bad_one(file, row, good, bad):
    script = read_items(SCRIPTS / f"{file}.jsonl", Script)[row]
    assert script.is_met(good) and not script.is_met(bad)


@pytest.mark.parametrize("file", sorted(path.name for path in SCRIPTS.glob("*.jsonl")))
def test_no_script_is_met_by_saying_nothing_or_by_the_last_message(file):
    for script in read_items(SCRIPTS / file, Script):
        assert not script.is_met("")
        assert not script.is_met(script.messages[-1].content) or file in ("refusal.jsonl", "mistake.jsonl")
