"""Where raw records come from: folders, addresses with a checksum, the hub."""

import gzip
import hashlib
import json

import pandas as pd
import pytest

from components.data.sources import url as sources
from components.data.sources.folder import FolderSource
from components.data.sources.hub import HubSource
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
