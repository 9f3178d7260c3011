"""Records of labelling: strict, the same bytes again, and every refusal names the field."""

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from components.data.records import RecordError
from components.labeling.answers import Answer, Feedback, Task, as_line, parse, read, write
from tests.components.labels import SOURCE, make_answer, make_feedback, make_task, said

RECORDS = [
    (Task, make_task("t", sampled=((1, 2), (3,), (4,), (5,)), ended=(True, False, True, True), gold=(1, 2, 2, 4))),
    (Task, make_task("d", kind="demonstration")),
    (Answer, make_answer("a", "t", quality=(7, 1, 4, 4), flags=(("opinion",), (), (), ("violent", "sexual")))),
    (Answer, make_answer("s", "t", kind="skip", reason="none is English")),
    (Feedback, make_feedback("f", value=-1, tags=("too-long",), correction="안녕하세요")),
]


@pytest.mark.parametrize(("schema", "record"), RECORDS)
def test_a_record_is_read_back_as_it_was_and_written_as_the_same_bytes(schema, record):
    line = as_line(record)
    assert parse(line, schema) == record and as_line(parse(line, schema)) == line
    assert list(json.loads(line)) == sorted(json.loads(line)) and "\n" not in line


@pytest.mark.parametrize(
    ("schema", "record", "change", "words"),
    [
        (Task, RECORDS[0][1], {"replies": ["one", "two", "one", "four"]}, "replies: two are the same text"),
        (Task, RECORDS[0][1], {"replies": ["one"]}, "replies: a ranking has 2 to 9, not 1"),
        (Task, RECORDS[0][1], {"gold": [1, 2]}, "gold: 2 for 4 replies"),
        (Task, RECORDS[0][1], {"messages": []}, "a prompt ends with a user message"),
        (Task, RECORDS[0][1], {"round": 0}, "round"),
        (Task, RECORDS[0][1], {"ronud": 1}, "ronud"),
        (Task, RECORDS[1][1], {"replies": ["one", "two"]}, "replies: a demonstration"),
        (Answer, RECORDS[2][1], {"ranks": [2, 2, 3, 4]}, "ranks: the best rank is 1"),
        (Answer, RECORDS[2][1], {"ranks": [0, 1, 1, 1]}, "ranks.0"),
        (Answer, RECORDS[2][1], {"ranks": []}, "ranks: a ranking needs it"),
        (Answer, RECORDS[2][1], {"quality": [8, 1, 1, 1]}, "quality.0"),
        (Answer, RECORDS[2][1], {"quality": ["7", 1, 1, 1]}, "quality.0"),
        (Answer, RECORDS[2][1], {"flags": [["rude"], [], [], []]}, "flags.0.0"),
        (Answer, RECORDS[2][1], {"shown_order": [0, 0, 1, 2]}, "shown_order: every reply stands at one place"),
        (Answer, RECORDS[2][1], {"worker": "ann@example.org"}, "worker"),
        (Answer, RECORDS[3][1], {"ranks": [1, 1, 1, 1]}, "ranks: a skip has none"),
        (Answer, RECORDS[3][1], {"kind": "demonstration"}, "text: a demonstration needs it"),
        (Feedback, RECORDS[4][1], {"value": 0}, "value"),
        (Feedback, RECORDS[4][1], {"correction": "hi there"}, "correction: it is the reply"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_fields_name(schema, record, change, words):
    row = json.loads(as_line(record)) | change
    with pytest.raises(ValueError, match="^" + words):
        parse(json.dumps(row), schema)


def test_text_that_is_no_text_and_numbers_that_are_none_are_refused():
    row = json.loads(as_line(RECORDS[4][1]))
    with pytest.raises(ValueError, match="hex escape"):
        parse(json.dumps(row | {"correction": "\ud800"}), Feedback)
    with pytest.raises(ValidationError, match="correction"):
        make_feedback("f", correction="\ud800")
    with pytest.raises(ValidationError, match="content"):
        said("\ud800")
    with pytest.raises(ValueError, match="seconds"):
        parse(as_line(RECORDS[2][1]).replace("9.5", "NaN"), Answer)
    with pytest.raises(ValidationError, match="seed"):
        replace(SOURCE, seed=-1)


def test_an_answer_is_held_against_its_task():
    task = make_task("t", replies=("one", "two", "three"))
    make_answer("a", "t", ranks=(1, 2, 2), order=(2, 0, 1)).check(task)
    make_answer("a", "t", kind="skip").check(task)
    with pytest.raises(ValueError, match="shown_order: 4 for 3 replies"):
        make_answer("a", "t").check(task)
    with pytest.raises(ValueError, match="kind: a demonstration does not answer a ranking"):
        make_answer("a", "t", kind="demonstration", text="so").check(task)
    with pytest.raises(ValueError, match="kind: a ranking does not answer a demonstration"):
        make_answer("a", "d").check(make_task("d", kind="demonstration"))


def test_a_file_is_read_to_its_end_and_all_that_is_wrong_in_it_is_listed(tmp_path):
    path = tmp_path / "round-01/answers.jsonl"
    assert write(path, [make_answer("a", "t"), make_answer("b", "t")]) == 2
    assert [answer.id for answer in read(path, Answer)] == ["a", "b"]
    path.write_text(path.read_text() + '{"id": "c"}\n\nnothing\n')
    with pytest.raises(RecordError, match=r"2 malformed answer row\(s\)") as error:
        list(read(path, Answer))
    (third,) = (line for line in str(error.value).splitlines() if f"{path}:3: " in line)
    assert "task: Field required" in third and "kind: Field required" in third
    assert f"{path}:5: Invalid JSON" in str(error.value)
