"""Raw records to shards, splits and prompts that do not overlap."""

import json
import math

import pytest

from components import params as parameters
from components.data import corpus
from components.data.corpus import CorpusReport, clean_text, read_shards, role_of, split_of
from components.data.digests import folder_md5, hash_fraction
from components.data.prompts import PromptPool
from components.data.records import Document, group_of
from components.pipelines import open_pipeline
from components.stages.prepare import Prepare
from tests.contracts.imports import ROOT


@pytest.fixture
def prepare_params():
    return parameters.load(open_pipeline(root=ROOT), ROOT).sections["prepare"]


def test_cleaning():
    assert clean_text(" a\x00b  c\r\n\n\te\u0301  ") == "ab c\né"


def _write_raw(folder, documents, conversations):
    write = {"documents": documents, "demonstrations": conversations}
    for kind, rows in write.items():
        (folder / kind).mkdir(parents=True)
        (folder / kind / "part-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_shards_drop_empty_and_duplicate_records_across_shards(tmp_path, prepare_params):
    documents = [
        {"id": f"d{i}", "text": text} for i, text in enumerate(["one", "two", "one ", " \x00", "three", "two"])
    ]
    blank = {"id": "c", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": " "}]}
    _write_raw(tmp_path, documents, [blank])
    report = CorpusReport()
    small = Prepare(**{**vars(prepare_params), "shard_records": 2})
    shards = list(read_shards(tmp_path, small, report))
    assert [text for shard in shards for text in shard["text"]] == ["one", "two", "three"]
    assert report.dropped == {"empty": 2, "duplicate": 2}
    assert report.read == 7
    assert max(map(len, shards)) <= 2


def test_a_limit_leaves_neither_kind_out(tmp_path, prepare_params):
    documents = [{"id": f"d{i}", "text": f"text {i}"} for i in range(6)]
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]
    _write_raw(tmp_path, documents, [{"id": f"c{i}", "messages": [*messages] * (i + 1)} for i in range(2)])
    limited = Prepare(**{**vars(prepare_params), "max_records": 5})
    (shard,) = read_shards(tmp_path, limited, CorpusReport())
    assert shard["id"].tolist() == ["d0", "c0", "d1", "c1", "d2"]


def test_splits_follow_their_fractions_and_depend_on_the_id_alone(prepare_params):
    names = [f"conversation-{i}" for i in range(20_000)]
    splits = [split_of(name, prepare_params) for name in names]
    for split in ("validation", "test"):
        expected = getattr(prepare_params, f"{split}_fraction")
        spread = 4 * math.sqrt(expected * (1 - expected) / len(names))
        assert splits.count(split) / len(names) == pytest.approx(expected, abs=spread)
    assert role_of("x", "test", prepare_params) == "test"
    assert hash_fraction("a", "s") == hash_fraction("a", "s") != hash_fraction("a", "t")


def test_a_records_group_decides_its_split_and_not_its_id(tmp_path, prepare_params):
    rows = [{"id": f"oasst:{i}", "text": f"text {i}", "group": f"p.jsonl:{i}"} for i in range(300)]
    together = [{"id": f"other:{i}", "text": f"other {i}", "group": "one book"} for i in range(100)]
    _write_raw(tmp_path, rows + together, [])
    frame = next(read_shards(tmp_path, prepare_params, CorpusReport()))
    assert set(frame[frame["id"].str.startswith("oasst")]["split"]) == {"train", "validation", "test"}
    assert frame[frame["id"].str.startswith("other")]["split"].nunique() == 1
    assert group_of(Document(id="x", text="t")) == "x" and group_of(Document(id="x", text="t", group="g")) == "g"


def test_long_records_make_shards_of_fewer_rows(tmp_path, prepare_params, monkeypatch):
    monkeypatch.setattr(corpus, "SHARD_CHARACTERS", 250)
    _write_raw(tmp_path, [{"id": f"d{i}", "text": f"{i} " + "x" * 98} for i in range(10)], [])
    assert [len(shard) for shard in read_shards(tmp_path, prepare_params, CorpusReport())] == [3, 3, 3, 1]


def test_prompts_of_different_uses_and_demonstrations_are_disjoint(tokenizer):
    import pandas as pd  # noqa: PLC0415

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
