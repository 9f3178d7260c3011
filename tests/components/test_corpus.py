"""Raw records to shards, splits and prompts that do not overlap."""

import json
import math
import random
import re
import unicodedata
from functools import partial

import pandas as pd
import pytest

from components import params as parameters
from components.data import joining
from components.data import portions as portions_module
from components.data.corpus import (
    ROWS,
    clean_portion,
    clean_text,
    portions_of,
    read_found,
    role_of,
    split_of,
    thin_portion,
)
from components.data.digests import folder_md5, hash_fraction
from components.data.joining import later
from components.data.prompts import PromptPool
from components.data.records import Document, group_of
from components.data.shards import Workplace
from components.data.workers.local import here
from components.pipelines import open_pipeline
from components.stages.prepare import Prepare
from tests.contracts.imports import ROOT


@pytest.fixture
def prepare_params():
    return parameters.load(open_pipeline(root=ROOT), ROOT).sections["prepare"]


def test_cleaning():
    assert clean_text(" a\x00b  c\r\n\n\te\u0301  ") == "ab c\né"


def test_what_is_clean_stays_and_nothing_else_passes_for_it():
    def by_character(text):
        text = unicodedata.normalize("NFC", text)
        text = "".join(c for c in text if c in "\n\t" or not (ord(c) < 32 or ord(c) == 127))
        return re.sub(r"\n+", "\n", "\n".join(" ".join(line.split()) for line in text.splitlines())).strip("\n")

    draw = random.Random(1)
    for _ in range(20_000):
        text = "".join(draw.choices("aé\u0301 \n\t\r\x00\u00a0\u2028\x85\ufeff\u200b일", k=draw.randint(0, 6)))
        assert clean_text(text) == by_character(text), repr(text)


def _write_raw(folder, documents, conversations):
    write = {"documents": documents, "demonstrations": conversations}
    for kind, rows in write.items():
        (folder / kind).mkdir(parents=True)
        (folder / kind / "part-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _cleaned(folder, params, at):
    """Shards of cleaned, unique records, and what was found of each cleaned one."""
    parts = list(enumerate(portions_of(folder, params.max_records)))
    cleaned = at.map(partial(clean_portion, params, joining.partitions(len(parts))), parts, "cleaned", "portions")
    thinned = at.map(partial(thin_portion, later(cleaned, at)), cleaned, "unique", "portions")
    return [pd.read_parquet(shard / ROWS) for shard in thinned], [read_found(folder) for folder in cleaned]


@pytest.fixture
def at(tmp_path):
    return Workplace(tmp_path / "state", here, 64)


def test_shards_drop_empty_and_duplicate_records_across_shards(tmp_path, prepare_params, at, monkeypatch):
    documents = [
        {"id": f"d{i}", "text": text} for i, text in enumerate(["one", "two", "one ", " \x00", "three", "two"])
    ]
    blank = {"id": "c", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": " "}]}
    same = {"id": "c2", "messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
    again = {"id": "d6", "text": "one\ntwo"}  # what the conversation is as text: it comes first
    monkeypatch.setattr(portions_module, "PORTION_BYTES", 60)
    monkeypatch.setattr(joining, "SHARDS_A_PARTITION", 1)
    _write_raw(tmp_path, [*documents, again], [blank, same])
    shards, found = _cleaned(tmp_path, prepare_params, at)
    assert [text for shard in shards for text in shard["text"]] == ["one", "two", "three", "one\ntwo"]
    assert [each["read"] for each in found] == [3, 2, 2, 1, 1]
    assert sum(each["empty"] for each in found) == 2
    numbers = pd.concat(shards)["number"].tolist()
    assert numbers == [0, 1, (1 << 32) + 1, (2 << 32) + 1]


def test_a_limit_leaves_neither_kind_out(tmp_path, prepare_params, at):
    documents = [{"id": f"d{i}", "text": f"text {i}"} for i in range(6)]
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]
    talks = [{"id": f"c{i}", "messages": [*messages] * (i + 1)} for i in range(2)]
    _write_raw(tmp_path, documents, talks)
    for limit, expected in ((5, "d0 d1 d2 c0 c1"), (6, "d0 d1 d2 d3 c0 c1"), (1, "d0"), (2, "d0 c0"), (99, None)):
        limited = Prepare(**{**vars(prepare_params), "max_records": limit})
        shards, _ = _cleaned(tmp_path, limited, Workplace(at.folder / str(limit), here, 64))
        names = pd.concat(shards)["id"].tolist()
        assert names == (expected.split() if expected else [f"d{i}" for i in range(6)] + ["c0", "c1"])


def test_splits_follow_their_fractions_and_depend_on_the_id_alone(prepare_params):
    names = [f"conversation-{i}" for i in range(20_000)]
    splits = [split_of(name, prepare_params) for name in names]
    for split in ("validation", "test"):
        expected = getattr(prepare_params, f"{split}_fraction")
        spread = 4 * math.sqrt(expected * (1 - expected) / len(names))
        assert splits.count(split) / len(names) == pytest.approx(expected, abs=spread)
    assert role_of("x", "test", prepare_params) == "test"
    assert hash_fraction("a", "s") == hash_fraction("a", "s") != hash_fraction("a", "t")


def test_a_records_group_decides_its_split_and_not_its_id(tmp_path, prepare_params, at):
    rows = [{"id": f"oasst:{i}", "text": f"text {i}", "group": f"p.jsonl:{i}"} for i in range(300)]
    together = [{"id": f"other:{i}", "text": f"other {i}", "group": "one book"} for i in range(100)]
    _write_raw(tmp_path, rows + together, [])
    (frame,), _ = _cleaned(tmp_path, prepare_params, at)
    assert set(frame[frame["id"].str.startswith("oasst")]["split"]) == {"train", "validation", "test"}
    assert frame[frame["id"].str.startswith("other")]["split"].nunique() == 1
    assert group_of(Document(id="x", text="t")) == "x" and group_of(Document(id="x", text="t", group="g")) == "g"


def test_prompts_of_different_uses_and_demonstrations_are_disjoint(tokenizer):
    def conversation(*turns):
        return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]

    rows = [
        ("d", "d", conversation("hello", "hi", "bye", "see you"), "demonstrations"),
        ("p", "p", conversation("hello", "hey", "what is up", "nothing"), "ppo"),
        ("c", "c", conversation("hello", "hey", "what is up", "all well"), "compare"),
        ("v", "v", conversation("good day", "yes", "what is up", "all well"), "validation"),
        ("e", "talk 5", conversation("good day", "yes", "and you", "fine"), "test"),
    ]
    pool = PromptPool(tokenizer, max_tokens=64, per_conversation=5)
    pool.add(pd.DataFrame(rows, columns=["id", "group", "messages", "role"]))
    prompts = pool.resolve()
    # "hello" alone opens the demonstration; "hello / hey / what is up" is claimed by ppo before compare.
    # "good day" is claimed by test before validation: no choice is made on a prompt that is tested on.
    assert {use: [p.id for p in found] for use, found in prompts.items() if use != "test"} == {
        "validation": ["v:3"],
        "ppo": ["p:3"],
        "compare": [],
    }
    assert sorted(p.id for p in prompts["test"]) == ["e:1", "e:3"]
    assert {p.group for p in prompts["test"]} == {"talk 5"}
    assert not any(pool.overlaps(prompts).values())
    assert pool.overlaps({**prompts, "compare": prompts["ppo"]})["ppo/compare"] == 1


def test_folder_digest_is_dvcs_own(tmp_path):
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/b.txt").write_text("b\n")
    (tmp_path / "data/sub/a.txt").write_text("a\n")
    from dvc.repo import Repo  # noqa: PLC0415

    with Repo.init(str(tmp_path), no_scm=True) as repo:
        (stage,) = repo.add(str(tmp_path / "data"))
        assert stage.outs[0].hash_info.value == folder_md5(tmp_path / "data")
