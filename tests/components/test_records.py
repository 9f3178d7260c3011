"""Rows of files as records: what is refused, and how published formats are read."""

import json

import pytest

from components.data.formats.preferences import as_comparison
from components.data.records import (
    Comparison,
    Demonstration,
    Document,
    Prompt,
    RecordError,
    read_records,
    write_records,
)
from tests.components.talks import CHAT
from tests.contracts.imports import ROOT


def test_malformed_rows_are_listed_with_file_line_and_reason(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = {"id": "a", "messages": CHAT[:2]}
    rows = [good, {"id": "b", "messages": CHAT[1:]}, {"id": "c"}, {**good, "extra": 1}, {**good, "messages": CHAT[:1]}]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\nnot json\n")
    with pytest.raises(RecordError) as caught:
        list(read_records(path, Demonstration))
    message = str(caught.value)
    assert "5 malformed" in message
    for line, words in ((2, "user is due"), (3, "messages"), (4, "extra"), (5, "at least"), (6, "JSON")):
        assert any(f"rows.jsonl:{line}:" in row and words in row for row in message.splitlines()), (line, message)


def test_blank_lines_and_a_byte_order_mark_are_not_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = json.dumps({"id": "a", "messages": CHAT})
    path.write_text(f"\ufeff{row}\n\n  \n{row}\n", encoding="utf-8")
    assert len(list(read_records(path, Prompt))) == 2


def test_another_encoding_is_a_sentence_that_names_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"id": "a", "text": "café"}\n'.encode("latin1"))
    with pytest.raises(RecordError, match=r"rows.jsonl: not UTF-8.*0xe9"):
        list(read_records(path, Document))


def test_a_comparisons_turns_are_checked_as_a_demonstrations_are(tmp_path):
    path = tmp_path / "rows.jsonl"
    turns = [{"role": "assistant", "content": "Welcome"}, {"role": "user", "content": "a"}]
    doubled = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    rows = [{"id": "x", "messages": said, "replies": ["x", "y"], "ranks": [1, 2]} for said in (turns, doubled)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecordError, match=r"message 1 is the assistant's.*\n.*message 2 is the user's"):
        list(read_records(path, Comparison))


def test_problems_are_listed_up_to_a_limit(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" * 50)
    with pytest.raises(RecordError, match="50 malformed") as caught:
        list(read_records(path, Prompt))
    assert "and 30 more" in str(caught.value)


def test_records_survive_writing_and_reading(tmp_path):
    comparison = {"id": "x", "messages": CHAT, "replies": ["a", "b", "c"], "ranks": [2, 1, 1]}
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(comparison) + "\n")
    records = list(read_records(path, Comparison))
    write_records(tmp_path / "again.jsonl", records)
    assert list(read_records(tmp_path / "again.jsonl", Comparison)) == records
    assert records[0].ranks == (2, 1, 1)


HUMAN = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: help?\n\nAssistant: "


@pytest.mark.parametrize(
    ("row", "replies", "turns"),
    [
        ({"chosen": HUMAN + "yes", "rejected": HUMAN + "no"}, ["yes", "no"], 3),
        # They part at an earlier reply: that is what is compared.
        (
            {"chosen": HUMAN + "yes", "rejected": "\n\nHuman: hi\n\nAssistant: bye\n\nHuman: what?\n\nAssistant: x"},
            ["hello", "bye"],
            1,
        ),
        ({"prompt": "hi", "chosen": "yes", "rejected": "no"}, ["yes", "no"], 1),
        (
            {"prompt": CHAT[:1], "chosen": CHAT[1:2], "rejected": [{**CHAT[1], "content": "no"}]},
            ["how are you?", "no"],
            1,
        ),
    ],
)
def test_published_preference_formats_become_comparisons(row, replies, turns):
    record = as_comparison({"id": "r", **row})
    assert record["replies"] == replies
    assert record["ranks"] == [1, 2]
    assert len(record["messages"]) == turns
    assert record["messages"][-1]["role"] == "user"


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": HUMAN + "same", "rejected": HUMAN + "same"},
        {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: y"},
        {"chosen": "no transcript", "rejected": "nor this"},
    ],
)
def test_preferences_that_cannot_be_compared_are_refused(row):
    with pytest.raises(ValueError, match="chosen and rejected"):
        as_comparison({"id": "r", **row})


def test_hh_rlhf_rows_are_understood():
    path = ROOT.parent / "shared/data/hh-rlhf/harmless-base-sample.jsonl"
    if not path.exists():
        pytest.skip("the hh-rlhf sample is not on this machine")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    records = [as_comparison({"id": str(i), **row}) for i, row in enumerate(rows)]
    assert len(records) == 300
    assert all(record["messages"][-1]["role"] == "user" for record in records)
