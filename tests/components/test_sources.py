"""Where raw records come from: folders, addresses with a checksum, the hub."""

import gzip
import hashlib
import json
import sys
import types

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from components.data.rows import Malformed, RawRecord
from components.data.sources import url as sources
from components.data.sources.folder import FolderSource
from components.data.sources.hub import HubSource
from components.data.sources.mixture import MixtureSource
from components.data.sources.source import SourceError
from components.data.sources.url import UrlSource

CHAT = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "how are you?"}]
LINE = json.dumps({"id": "own", "messages": CHAT}) + "\n"


def read(source, tmp_path):
    return list(source.read(tmp_path / "downloads"))


def test_a_folder_gives_what_its_files_hold_whatever_their_format(tmp_path):
    folder = tmp_path / "raw"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one text")
    (folder / "b.jsonl").write_text(LINE + json.dumps({"messages": CHAT[:1]}) + "\n")
    pd.DataFrame({"text": ["two", "three"], "id": ["x", "y"]}).to_parquet(folder / "deep" / "c.parquet")
    found = [
        (record.kind, record.fields["id"]) for record in read(FolderSource(kind="folder", path=str(folder)), tmp_path)
    ]
    assert found == [
        ("documents", "a"), ("demonstrations", "own"), ("prompts", "b-2"), ("documents", "x"), ("documents", "y"),
    ]  # fmt: skip


def test_a_row_that_is_nothing_is_named_with_its_columns_and_the_others_are_read(tmp_path):
    (tmp_path / "b.jsonl").write_text(LINE + json.dumps({"title": "x", "text": None}) + "\n" + LINE)
    first, nothing, last = read(FolderSource(kind="folder", path=str(tmp_path)), tmp_path)
    assert nothing.origin.endswith("b.jsonl:2") and "has title; null: text" in nothing.reason
    assert first.kind == last.kind == "demonstrations"


def test_an_address_is_read_when_its_checksum_is_right_and_fetched_once(tmp_path, monkeypatch):
    calls = []

    def fetch(url, target, told):
        calls.append(url)
        target.write_text(LINE)

    monkeypatch.setattr(sources.urllib.request, "urlretrieve", fetch)
    digest = hashlib.sha256(LINE.encode()).hexdigest()
    source = UrlSource(kind="url", url="https://example.org/talk.jsonl", sha256=digest)
    assert [record.fields["messages"] for record in read(source, tmp_path)] == [CHAT]
    assert read(source, tmp_path) and len(calls) == 1


def test_an_address_with_another_checksum_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.urllib.request, "urlretrieve", lambda url, target, told: target.write_text("tampered"))
    source = UrlSource(kind="url", url="https://example.org/talk.jsonl", sha256="0" * 64)
    with pytest.raises(SourceError, match=hashlib.sha256(b"tampered").hexdigest()):
        read(source, tmp_path)
    assert not list((tmp_path / "downloads").iterdir())


def test_an_address_of_no_known_ending_is_refused_before_it_is_fetched(tmp_path):
    with pytest.raises(SourceError, match="ends in none of"):
        read(UrlSource(kind="url", url="https://example.org/talk.zip", sha256="0" * 64), tmp_path)


def test_a_packed_file_behind_an_address_is_unpacked(tmp_path, monkeypatch):
    packed = gzip.compress(LINE.encode())
    monkeypatch.setattr(sources.urllib.request, "urlretrieve", lambda url, target, told: target.write_bytes(packed))
    source = UrlSource(
        kind="url", url="https://example.org/talk.jsonl.gz?raw=1", sha256=hashlib.sha256(packed).hexdigest()
    )
    (record,) = read(source, tmp_path)
    assert record.fields["messages"] == CHAT and record.fields["group"] == "talk.jsonl.gz:1"


def test_the_hub_source_reads_what_datasets_loads(tmp_path, monkeypatch):
    """A folder stands for the hub: `load_dataset` takes either by the same argument."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))  # read at the first import
    pytest.importorskip("datasets")
    folder = tmp_path / "talk"
    folder.mkdir()
    (folder / "train.jsonl").write_text(LINE)
    (record,) = read(HubSource(kind="hub", dataset=str(folder), split="train", revision="main"), tmp_path)
    assert (record.kind, record.fields) == ("demonstrations", {"id": "own", "group": "train:1", "messages": CHAT})


class Stream:
    """What `load_dataset(..., streaming=True)` gives: rows in order, of no known number."""

    def __init__(self, rows, error=None):
        self.rows, self.error = rows, error

    def __iter__(self):
        yield from self.rows
        if self.error:
            raise self.error


@pytest.fixture
def hub(monkeypatch):
    """Stands for the package `datasets`; set `stream` to what it loads, and read `asked`."""
    module = types.SimpleNamespace(stream=None, asked={})

    def load_dataset(name, **options):
        module.asked = {"name": name, **options}
        return module.stream

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_the_hub_is_streamed_and_its_rows_are_of_any_format(hub, tmp_path):
    hub.stream = Stream([{"question": "q", "answer": "a"}, {"title": "x"}, {"text": "t"}])
    source = HubSource(kind="hub", dataset="who/talk", split="train", revision="a" * 40)
    rows = source.read(tmp_path)
    first = next(rows)
    assert (first.kind, first.fields["id"], first.fields["group"]) == ("demonstrations", "talk-1", "train:1")
    assert hub.asked == {"name": "who/talk", "split": "train", "revision": "a" * 40, "streaming": True}
    bad, last = rows
    assert bad.origin == "who/talk:2" and last.kind == "documents"


def test_a_hub_that_breaks_off_is_a_sentence(hub, tmp_path):
    hub.stream = Stream([{"text": "t"}], RuntimeError("gone"))
    rows = HubSource(kind="hub", dataset="who/talk", split="train", revision="main").read(tmp_path)
    next(rows)
    with pytest.raises(SourceError, match="who/talk cannot be read from the hub: gone"):
        next(rows)


def mixture(tmp_path, *weights):
    parts = []
    for number, weight in enumerate(weights):
        folder = tmp_path / f"part{number}"
        if not folder.exists():
            folder.mkdir()
            rows = [{"text": f"{number}: {i}", "group": f"{number}/{i // 2}"} for i in range(2000)]
            (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"title": 1}\n')
        parts.append({"weight": weight, "source": {"kind": "folder", "path": str(folder)}})
    return TypeAdapter(MixtureSource).validate_json(json.dumps({"kind": "mixture", "parts": parts}))


def test_a_mixture_keeps_a_share_of_each_parts_groups_and_all_that_is_wrong(tmp_path):
    found = read(mixture(tmp_path, 1.0, 0.25), tmp_path)
    texts = [record.fields["text"] for record in found if isinstance(record, RawRecord)]
    assert sum(text.startswith("0") for text in texts) == 2000
    kept = [int(text[3:]) for text in texts if text.startswith("1")]
    assert 420 < len(kept) < 580  # 500 expected of 1000 groups of two: within three standard deviations
    assert {i ^ 1 for i in kept} == set(kept)  # both records of a group
    assert sum(isinstance(record, Malformed) for record in found) == 2


def test_a_larger_weight_keeps_what_a_smaller_one_kept(tmp_path):
    few, more = (
        {r.fields["text"] for r in read(mixture(tmp_path, 1.0, weight), tmp_path) if isinstance(r, RawRecord)}
        for weight in (0.2, 0.6)
    )
    assert few < more


def test_a_mixtures_digest_is_of_its_weights_and_of_what_its_parts_hold(tmp_path):
    digests = [mixture(tmp_path, 1.0, weight).digest() for weight in (0.5, 0.5, 0.6)]
    assert digests[0] == digests[1] != digests[2]
    source = mixture(tmp_path, 1.0, 0.5)
    assert not source.is_missing()
    (tmp_path / "part1/a.jsonl").write_text(LINE)
    assert source.digest() != digests[0]
    (tmp_path / "part1/a.jsonl").unlink()
    (tmp_path / "part1").rmdir()
    assert source.is_missing()


def test_documents_of_a_part_are_of_its_corpus_and_a_name_is_another_version(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "corpus": "own"}\n{"text": "c", "corpus": 3}\n')
    part = {"weight": 1.0, "source": {"kind": "folder", "path": str(tmp_path)}}

    def of(**named):
        parts = [part | named, {"weight": 0.0001, "source": part["source"]}]
        return TypeAdapter(MixtureSource).validate_json(json.dumps({"kind": "mixture", "parts": parts}))

    found = list(read(of(), tmp_path / "x"))
    assert [each.fields.get("corpus") for each in found[:2]] == [None, "own"]
    assert "a text" in found[2].reason
    found = list(read(of(corpus="books"), tmp_path / "x"))
    assert [each.fields["corpus"] for each in found[:2]] == ["books", "books"]
    assert of(corpus="books").digest() != of().digest()


@pytest.mark.parametrize("weight", [0.0, 1.5, -1.0])
def test_a_weight_is_a_share(tmp_path, weight):
    with pytest.raises(ValidationError, match="weight"):
        mixture(tmp_path, 1.0, weight)
