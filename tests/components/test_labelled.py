"""Labelled texts: planted ones made of conversations, and the user's files."""

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter, ValidationError

from components.data.labelled.continuation import Continuation
from components.data.labelled.table import Table
from components.data.labelled.word_order import WordOrder, moved
from components.data.records import RecordError
from components.evaluation.items import Choice, Entailment, LabelledText, Similarity
from components.stages import labelled
from tests.contracts.imports import ROOT

SHARED = ROOT.parent / "shared/data"
SIZES = {"min_words": 4, "max_words": 9, "train": 12, "validation": 4, "test": 8}


@pytest.fixture
def conversations(tmp_path):
    """Five conversations of a split, of whose messages each has words that are found nowhere else."""
    for split, size in (("train", 6), ("validation", 3), ("test", 4)):
        rows = []
        for number in range(size):
            messages = [
                {"role": role, "content": " ".join(f"{split[:2]}{number}{turn}{place}" for place in range(6))}
                for turn, role in enumerate(("user", "assistant", "user", "assistant"))
            ]
            rows.append({"id": str(number), "group": f"g{number}", "messages": messages})
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def said(folder, split):
    """Messages by the conversation they are of."""
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
    return {message["content"]: row["group"] for row in rows for message in row["messages"]}


def test_moved_words_are_in_other_places_and_no_others():
    for seed in range(200):
        draw = random.Random(seed)
        words = [f"w{place}" for place in range(draw.randrange(2, 9))]
        count = draw.randrange(2, 6)
        result = moved(words, count, draw)
        assert Counter(result) == Counter(words)
        assert sum(own != before for own, before in zip(result, words, strict=True)) == min(count, len(words))


def test_word_order_keeps_half_of_the_messages_and_moves_words_of_the_others(conversations):
    rows = WordOrder(kind="word_order", moved=3, **SIZES).rows(conversations, seed=1)
    assert {split: len(own) for split, own in rows.items()} == {"train": 12, "validation": 4, "test": 8}
    for split, own in rows.items():
        known = said(conversations, split)
        for row in own:
            TypeAdapter(LabelledText).validate_json(json.dumps(row))
            assert (row["text"] in known) == (row["label"] == "kept")
            assert {tuple(sorted(text.split())) for text in known} >= {tuple(sorted(row["text"].split()))}
    assert rows == WordOrder(kind="word_order", moved=3, **SIZES).rows(conversations, seed=1)
    assert rows != WordOrder(kind="word_order", moved=3, **SIZES).rows(conversations, seed=2)
    whole = WordOrder(kind="word_order", moved=3, **{**SIZES, "train": 24}).rows(conversations, seed=1)["train"]
    assert Counter(row["label"] for row in whole) == {"kept": 12, "moved": 12}


@pytest.mark.parametrize(("form", "kind", "keys"), [
    ("entailment", Entailment, ("premise", "hypothesis")), ("similarity", Similarity, ("first", "second")),
])  # fmt: skip
def test_halves_belong_together_or_are_of_two_conversations(conversations, form, kind, keys):
    source = Continuation(kind="continuation", form=form, **{**SIZES, "train": 24})
    found = Counter()
    for split, rows in source.rows(conversations, seed=0).items():
        known = said(conversations, split)
        halves = {text: (message, group) for message, group in known.items() for text in
                  (" ".join(message.split()[:3]), " ".join(message.split()[3:]))}  # fmt: skip
        for row in rows:
            TypeAdapter(kind).validate_json(json.dumps(row))
            texts = [row[key] for key in keys]
            (first, own), (second, other) = (halves[text] for text in texts)
            assert (first == second) == (row["label"] == "goes on")
            assert row["label"] == "goes on" or own != other
            found[row["label"], first.startswith(texts[0])] += 1
    labels, orders = ({pair[place] for pair in found} for place in (0, 1))
    assert labels == {"goes on", "does not"}
    assert orders == ({True} if form == "entailment" else {True, False})


def test_one_of_four_goes_on_and_each_place_is_as_likely(conversations):
    source = Continuation(kind="continuation", form="multiple_choice", **{**SIZES, "train": 24})
    rows = source.rows(conversations, seed=0)["train"]
    known = said(conversations, "train")
    for row in rows:
        TypeAdapter(Choice).validate_json(json.dumps(row))
        right = [f"{row['query']} {choice}" in known for choice in row["choices"]]
        assert right.index(True) == row["gold"] and sum(right) == 1
    assert Counter(row["gold"] for row in rows) == dict.fromkeys(range(4), 6)


@pytest.mark.parametrize(("source", "words"), [
    (WordOrder(kind="word_order", moved=3, **SIZES), r"test.jsonl gives 4 rows of the 8"),
    (Continuation(kind="continuation", form="entailment", **SIZES), "of too few conversations"),
])  # fmt: skip
def test_planted_tasks_need_conversations_and_enough_of_them(conversations, source, words):
    with pytest.raises(RecordError, match="feed `demonstrations`"):
        source.rows(None, seed=0)
    (conversations / "test.jsonl").write_text((conversations / "validation.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(RecordError, match=words):
        source.rows(conversations, seed=0)


def test_two_conversations_are_enough_and_choices_are_all_different(conversations):
    lines = (conversations / "train.jsonl").read_text().splitlines()
    for split in ("train", "validation", "test"):
        (conversations / f"{split}.jsonl").write_text("\n".join(lines[:2]) + "\n")
    sizes = {**SIZES, "train": 8, "validation": 8, "test": 8}
    for seed in range(20):
        rows = Continuation(kind="continuation", form="multiple_choice", **sizes).rows(conversations, seed=seed)
        assert all(len(set(row["choices"])) == 4 for own in rows.values() for row in own)


@pytest.mark.parametrize(("kind", "changes", "words"), [
    (WordOrder, {"kind": "word_order", "moved": 1}, "moved"),
    (WordOrder, {"kind": "word_order", "moved": 2, "min_words": 1}, "min_words"),
    (WordOrder, {"kind": "word_order", "moved": 2, "min_words": 9, "max_words": 8}, "min_words 9 is above max_words 8"),
])  # fmt: skip
def test_what_would_make_no_task_is_refused(kind, changes, words):
    with pytest.raises(ValidationError, match=words):
        kind(**{**SIZES, **changes})


def table(folder, columns, train, test="test.tsv"):
    return Table(
        kind="table", train=str(folder / train), test=str(folder / test), columns=columns, validation_fraction=0.25
    )


def test_tables_without_names_are_read_by_number_and_quotation_marks_are_text(tmp_path):
    (tmp_path / "train.tsv").write_text('gj04\t1\t\tShe said "no.\ncj99\t0\t*\tHe "said\nx\t1\t\tYes.\ny\t0\t*\tNo.\n')
    (tmp_path / "test.tsv").write_text("z\t0\t\tThe end\n")
    rows = table(tmp_path, {"text": 3, "label": 1}, "train.tsv").rows(None, seed=0)
    assert {split: len(own) for split, own in rows.items()} == {"train": 3, "validation": 1, "test": 1}
    texts = {row["text"]: row["label"] for row in rows["train"] + rows["validation"]}
    assert texts == {'She said "no.': "1", 'He "said': "0", "Yes.": "1", "No.": "0"}
    assert rows["test"] == [{"text": "The end", "label": "0"}]


def test_tables_with_names_and_rows_of_json_are_read_by_name(tmp_path):
    (tmp_path / "train.csv").write_text('sentence, class\n"a, b", 1\nc,2\n d ,1\ne,2\n')
    (tmp_path / "test.jsonl").write_text('{"sentence": "f", "class": 1}\n')
    rows = table(tmp_path, {"text": "sentence", "label": "class"}, "train.csv", "test.jsonl").rows(None, seed=0)
    assert {row["text"] for row in rows["train"] + rows["validation"]} == {"a, b", "c", "d", "e"}
    assert rows["test"] == [{"text": "f", "label": "1"}]


def test_rows_that_are_not_labelled_are_named(tmp_path):
    (tmp_path / "train.tsv").write_text("a\t1\n\t0\nc\n")
    (tmp_path / "test.tsv").write_text("a\t1\n")
    with pytest.raises(RecordError) as error:
        table(tmp_path, {"text": 0, "label": 1}, "train.tsv").rows(None, seed=0)
    assert "train.tsv:2: nothing in column 0" in str(error.value)
    assert "train.tsv:3: 1 cells where the first line has 2" in str(error.value)
    with pytest.raises(RecordError, match=r"none.tsv: No such file or directory; labelled.source names it"):
        table(tmp_path, {"text": 0, "label": 1}, "none.tsv").rows(None, seed=0)


@pytest.mark.parametrize(("content", "columns", "words"), [
    ("text,label\nHe said hello, world,1\nb,1\n", {"text": "text", "label": "label"}, "2: 3 cells where the first"),
    ('text,label\n"a,1\nb",2\nc,1\n"d,2\n', {"text": "text", "label": "label"}, "unexpected end of data"),
    ("sentence,label\na,1\nb,1\n", {"text": 0, "label": 1}, "one row of the class label: nothing"),
    ("sentence,label\na,1\nb,1\n", {"text": "text", "label": "label"}, "no column text, but sentence, label"),
    ("", {"text": 0, "label": 1}, "has no row"),
])  # fmt: skip
def test_tables_that_are_read_wrongly_are_refused(tmp_path, content, columns, words):
    (tmp_path / "train.csv").write_text(content)
    (tmp_path / "test.csv").write_text(content)
    with pytest.raises(RecordError, match=words):
        table(tmp_path, columns, "train.csv", "test.csv").rows(None, seed=0)


def test_columns_are_named_or_numbered_and_a_broken_file_is_named(tmp_path):
    with pytest.raises(ValidationError, match="all by their names, or all by their numbers"):
        table(tmp_path, {"text": "text", "label": 1}, "train.csv")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match=r"train.parquet: .*labelled.source names it"):
        table(tmp_path, {"text": "text", "label": "label"}, "train.parquet").rows(None, seed=0)


@pytest.mark.parametrize(("folder", "files", "columns", "classes"), [
    ("sst2", ("train.tsv", "dev.tsv"), {"text": 0, "label": 1}, {"0", "1"}),
    ("cola", ("in_domain_train.tsv", "in_domain_dev.tsv"), {"text": 3, "label": 1}, {"0", "1"}),
])  # fmt: skip
def test_public_files_go_through(folder, files, columns, classes):
    if not (SHARED / folder).exists():
        pytest.skip(f"{folder} is not at hand")
    rows = table(SHARED / folder, columns, *files).rows(None, seed=0)
    lines = [sum(1 for _ in (SHARED / folder / name).open()) for name in files]
    assert [len(rows["train"]) + len(rows["validation"]), len(rows["test"])] == lines
    assert {row["label"] for own in rows.values() for row in own} == classes


def test_the_stage_writes_a_file_a_split_and_counts_classes(tmp_path, conversations):
    work = SimpleNamespace(
        section=SimpleNamespace(source=WordOrder(kind="word_order", moved=3, **SIZES)), seed=0, metrics={},
        read_all=lambda name: {"prepare": conversations}, path=lambda name: Path(tmp_path / "out" / name),
    )  # fmt: skip
    (tmp_path / "out").mkdir()
    labelled.run(work)
    rows = [json.loads(line) for line in (tmp_path / "out/items/test.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert work.metrics["test"] == {"rows": 8, "classes": dict(sorted(Counter(row["label"] for row in rows).items()))}
