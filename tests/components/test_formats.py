"""Formats of rows: each of the documentation's examples, what is not used, and rows that are wrong."""

import copy
import json
import re

import pytest

from components.data.formats.known import FORMATS
from components.data.rows import Malformed, Place, RawRecord, as_line, as_records
from tests.contracts.imports import ROOT

PLACE = Place("raw/a.jsonl", "a.jsonl", 3, "a")
TABLE = re.findall(r"^\| ([^|]+) \| .+ \| ([a-z, ]+) \| `(\{.*\})` \|$", (ROOT / "docs/data.md").read_text(), re.M)
EXAMPLES = {name: json.loads(example) for name, _, example in TABLE}
TEA = [{"role": "user", "content": "What is tea?"}]
DRINK = {"role": "assistant", "content": "A drink."}


def records(row, place=PLACE):
    found = list(as_records(row, place))
    bad = [each.reason for each in found if isinstance(each, Malformed)]
    assert not bad
    return found


def fields(row):
    (found,) = records(row)
    return found.fields


def refusal(row):
    (bad,) = as_records(row, PLACE)
    assert isinstance(bad, Malformed) and (bad.origin, bad.file, bad.row) == ("raw/a.jsonl:3", "a.jsonl", 3)
    return bad.reason


def test_the_page_has_an_example_of_every_format_in_the_order_they_are_tried():
    assert [name for name, _, _ in TABLE] == [each.name for each in FORMATS]


@pytest.mark.parametrize(("name", "kinds", "example"), TABLE, ids=[name for name, _, _ in TABLE])
def test_an_example_is_of_its_format_gives_the_kinds_that_are_said_and_loses_nothing(name, kinds, example):
    found = records(json.loads(example))
    assert {each.format for each in found} == {name}
    assert {each.kind.removesuffix("s") for each in found} <= {
        kind.strip().removesuffix("s") for kind in kinds.split(",")
    }
    assert all(json.loads(as_line(each))["group"] for each in found)
    # RewardBench's own columns are the only ones of the examples that mean nothing here.
    allowed = {"column `subset`", "column `num_correct`"} if name == "RewardBench" else set()
    assert {note for each in found for note in each.notes} == allowed


ASKED = {"messages": TEA}
PAIR = {"replies": ["A drink.", "A stone."], "ranks": [1, 2]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RewardBench", {**ASKED, "replies": ["A drink.", "A stone.", "A car."], "ranks": [1, 2, 2]}),
        ("hh-rlhf transcripts", {**ASKED, **PAIR}),
        ("preferences", {**ASKED, **PAIR}),
        ("ranked replies", {**ASKED, **PAIR}),
        ("completions with scores", {**ASKED, "replies": ["A drink.", "A stone.", "A car."], "ranks": [1, 2, 2]}),
        ("completions with a label, of KTO's form", {"messages": [*TEA, DRINK]}),
        ("messages of OpenAI's form", {"messages": [{"role": "system", "content": "Be kind."}, *TEA, DRINK]}),
        ("conversations of ShareGPT's form", {"messages": [*TEA, DRINK]}),
        ("questions and answers", {"messages": [*TEA, DRINK]}),
        ("plain text", {"text": "Tea is a drink."}),
        ("prompts", ASKED),
    ],
)
def test_what_an_example_becomes(name, expected):
    found = fields(EXAMPLES[name])
    assert {key: value for key, value in found.items() if key not in ("id", "group")} == expected


def test_an_input_goes_on_after_its_instruction_and_a_history_stands_before_it():
    assert fields(EXAMPLES["instructions of Alpaca's form"])["messages"][0]["content"] == "Translate.\n\nTee"
    row = {
        "instruction": "And now?",
        "input": "",
        "output": "Later.",
        "history": [["hi", "hello"]],
        "system": "Be kind.",
    }
    said = [(turn["role"], turn["content"]) for turn in fields(row)["messages"]]
    assert said == [("system", "Be kind."), ("user", "hi"), ("assistant", "hello"), ("user", "And now?"),
                    ("assistant", "Later.")]  # fmt: skip


def test_a_summary_is_asked_for_as_in_the_paper_and_posts_are_groups():
    found = fields(EXAMPLES["comparisons of summaries"])
    assert found["messages"][0]["content"] == "SUBREDDIT: r/tea\n\nTITLE: Tea\n\nPOST: I drank tea.\n\nTL;DR:"
    assert (found["ranks"], found["group"]) == ([2, 1], "post:p")


def node(role, text, *replies, **more):
    return {"role": role, "text": text, "replies": list(replies), **more}


def test_a_tree_gives_its_best_ways_its_ranked_replies_and_its_open_questions():
    good = node("assistant", "good", node("prompter", "more", node("assistant", "sure", rank=0)),
                node("prompter", "open"), rank=0)  # fmt: skip
    bad = node("assistant", "bad", node("prompter", "why", node("assistant", "so", rank=0)), rank=1)
    gone = node("assistant", "gone", node("prompter", "lost"), rank=2, deleted=True)
    found = records({"message_tree_id": "t", "prompt": node("prompter", "q", bad, gone, good)})
    said = [(each.kind, [turn["content"] for turn in each.fields["messages"]]) for each in found]
    assert sorted(said) == [
        ("comparisons", ["q"]),
        ("demonstrations", ["q", "good", "more", "sure"]),
        ("prompts", ["q", "good", "open"]),
    ]
    (compared,) = [each for each in found if each.kind == "comparisons"]
    assert dict(zip(compared.fields["replies"], compared.fields["ranks"], strict=True)) == {"good": 1, "bad": 2}
    assert any("took back" in note for note in compared.notes)
    assert {each.fields["group"] for each in found} == {"t"}
    assert len({each.fields["id"] for each in found}) == 3


def test_what_is_labelled_false_leaves_its_prompt_and_says_so_and_rows_of_a_prompt_are_one_group():
    row = EXAMPLES["completions with a label, of KTO's form"]
    (good,), (bad,) = records(row), records({**row, "completion": "A stone.", "label": False})
    assert (bad.kind, bad.fields["messages"]) == ("prompts", TEA)
    assert bad.notes == ("of completions labelled false the prompt alone is kept",)
    assert good.fields["group"] == bad.fields["group"] != records({**row, "prompt": "x"})[0].fields["group"]


def test_of_many_replies_nine_are_kept_from_the_best_to_the_worst():
    items = [{"text": f"reply {score}", "score": score} for score in range(25)]
    (found,) = records({"prompt": "q", "completions": items})
    assert len(found.fields["replies"]) == len(set(found.fields["ranks"])) == 9
    assert {"reply 0", "reply 24"} <= set(found.fields["replies"])
    best = min(zip(found.fields["ranks"], found.fields["replies"], strict=True))
    assert best[1] == "reply 24" and found.notes
    as_line(found)


@pytest.mark.parametrize(
    ("row", "ranks"),
    [
        ({"prompt": "q", "responses": ["a", "b", "c"], "scores": [1.0, 3, 1]}, [2, 1, 2]),
        ({"prompt": "q", "responses": ["a", "b", "c"], "ranks": [3, 1, 2]}, [3, 1, 2]),
        ({"prompt": "q", "answers": [{"answer": "a", "rank": 2.0}, {"answer": "b", "rank": 1.0}]}, [2, 1]),
        ({"instruction": "q", "completions": [{"response": "a", "overall_score": 2}, {"response": "b",
          "overall_score": "8.5"}]}, [2, 1]),
        ({"instruction": "q", "completions": [{"response": "a", "overall_score": 10, "fine-grained_score": 1.5},
          {"response": "b", "overall_score": 7, "fine-grained_score": 4.0}]}, [2, 1]),
    ],
)  # fmt: skip
def test_scores_and_ranks_are_read_wherever_they_stand(row, ranks):
    assert fields(row)["ranks"] == ranks


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*TEA, {"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "42"}]},
        {"messages": [*TEA, {"role": "tool", "content": "42"}, DRINK]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "observation", "value": "42"}]},
    ],
)
def test_a_conversation_with_tools_is_refused_with_the_reason(row):
    assert "message 2" in refusal(row) and "there are no tools here" in refusal(row)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": "hello"}, "`messages` is text: a list of messages is due"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part that is image_url"),
        ({"messages": [*TEA, {**DRINK, "weight": 0}]}, "not to be learned"),
        ({"prompt": "q", "completion": "a", "label": 3}, "`label` is 3: true or false is due"),
        ({"instruction": "q", "completions": [{"response": "a", "score": 1}, {"response": "b"}]}, "item 2 of"),
        ({"instruction": "q", "completions": ["a", "b"]}, "item 1 of `completions` is text"),
        ({"prompt": "q", "responses": ["a", "b"], "scores": [1]}, "are not of one length"),
        ({"info": {"post": "p"}, "summary": {"text": "s"}}, "compares nothing"),
        ({"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}, "`choice` is 2"),
        ({"message_tree_id": "t", "parent_id": None, "text": "hi", "role": "prompter"}, "take the set's trees"),
        ({"message_tree_id": "t", "tree_state": "aborted_low_grade", "prompt": {"replies": []}}, "aborted"),
        ({"text": "a", "document": "b"}, "both hold a text"),
        ({"question": "q", "answer": "a", "dialogue": [{"role": "user"}]}, "`dialogue` is a list of others"),
        ({"sentence_good": "a", "sentence_bad": "b"}, "no known format"),
    ],
)
def test_what_a_row_lacks_is_said(row, reason):
    assert reason in refusal(row)


def test_columns_and_fields_that_nothing_reads_are_named_whatever_they_are():
    row = {"question": "q", "answer": "a", "response": "b", "score": 2, "tags": ["x"], "tools": [{"name": "t"}]}
    assert records(row)[0].notes == tuple(f"column `{name}`" for name in ("response", "score", "tags", "tools"))
    (chat,) = records({"messages": [{**TEA[0], "name": "Ann"}, {**DRINK, "tool_calls": [], "weight": 1}]})
    assert chat.fields["messages"] == [*TEA, DRINK]
    assert chat.notes == ("field `name` of `messages`", "field `weight` of `messages`")


def test_a_rated_conversation_is_a_demonstration_whoever_has_the_last_word():
    talk = [*TEA, DRINK, {"role": "user", "content": "Thanks."}]
    assert [records({"messages": talk, **more})[0].kind for more in ({}, {"ratings": {"fun": 3}})] == [
        "prompts", "demonstrations",
    ]  # fmt: skip


def test_ids_that_are_numbers_are_ids():
    assert json.loads(as_line(records({"id": 7, "group": 8, "text": "x"})[0])) == {"id": "7", "group": "8", "text": "x"}


JUNK = (None, 3, True, "x", "", [], {}, [1], [[]], [None], {"a": 1}, float("nan"))


def damaged(value):
    """The value with each of its parts in turn replaced by something else, or gone."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        for other in (*JUNK, *damaged(part)):
            changed = copy.copy(value)
            changed[key] = other
            yield changed
        rest = copy.copy(value)
        del rest[key]
        yield rest


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_damaged_row_is_read_or_refused_and_never_an_error(name):
    for row in damaged(EXAMPLES[name]):
        found = list(as_records(row, PLACE))
        assert found
        for each in found:
            if isinstance(each, RawRecord):
                try:
                    as_line(each)
                except ValueError as error:
                    assert str(error)


def test_of_two_system_messages_the_second_is_named_and_an_empty_instruction_leaves_its_input():
    (found,) = records(
        {"system": "Be kind.", "system_prompt": "Be brief.", "instruction": "", "input": "q", "output": "a"}
    )
    assert [turn["content"] for turn in found.fields["messages"]] == ["Be kind.", "q", "a"]
    assert found.notes == ("column `system_prompt`",)
    assert "`input` is a list" in refusal({"instruction": "q", "input": ["x"], "output": "a"})
