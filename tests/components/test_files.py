"""Files below a folder: every format, encodings, long texts, and what is not read."""

import gzip
import json
import logging
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest

from components.data.rows import Malformed
from components.data.sources.folder import FolderSource
from components.data.sources.source import SourceError
from components.data.texts import LONGEST, SHORTEST, cut_text


def packed(content: bytes) -> bytes:
    """The same bytes at any time: they are parts of tests' names, which every worker must find alike."""
    return gzip.compress(content, mtime=0)


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


def read(folder):
    return list(FolderSource(kind="folder", path=str(folder)).read(folder / ".down"))


def texts(folder):
    return [record.fields["text"] for record in read(folder)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"one"),
        ("A.TXT", b"one"),
        ("a.txt.gz", packed(b"one")),
        ("a.jsonl", b'{"text": "one"}\n'),
        ("a.jsonl", b'\n{"text": "one"}\n\n  \n'),
        ("D.JSONL", b'{"text": "one"}'),
        ("b.jsonl.gz", packed(b'{"text": "one"}\n')),
        ("c.json", b'[{"text": "one"}]'),
        ("c.json", b'{\n  "text": "one"\n}\n'),
        ("c.json", b'{"text": "one"}\n'),
        ("c.JSON.GZ", packed(b'[{"text": "one"}]')),
        ("z.jsonl.zst", zstd(b'{"text": "one"}\n')),
        ("z.txt.ZST", zstd(b"o") + zstd(b"ne")),
        ("z.csv.zst", zstd(b"id,text\nx,one\n")),
        ("t.tsv.gz", packed(b"id\ttext\nx\tone\n")),
        ("t.csv", b"id,text\nx,one\n"),
        ("t.tsv", b"id\ttext\nx\tone\n"),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_format_is_read_with_or_without_a_byte_order_mark(tmp_path, name, content, mark):
    if name.lower().endswith(".gz"):
        marked = packed(mark) + content
    else:
        marked = (zstd(mark) if name.lower().endswith(".zst") else mark) + content
    (tmp_path / name).write_bytes(marked)
    assert texts(tmp_path) == ["one"]


def test_json_and_a_table_hold_many_rows_and_missing_cells_are_absent(tmp_path):
    (tmp_path / "a.json").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "b.csv").write_text('prompt,chosen,rejected,text\n,,,"three\nlines, here"\nq,yes,no,\n')
    one, two, three, pair = read(tmp_path)
    assert [r.fields["text"] for r in (one, two, three)] == ["one", "two", "three\nlines, here"]
    assert (pair.kind, pair.fields["replies"]) == ("comparisons", ["yes", "no"])


def test_what_is_not_read_is_named_and_what_is_hidden_is_not_read(tmp_path, caplog):
    for name in ("a.jsonl", ".b.jsonl", ".git/c.jsonl", "deep/.cache/d.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "one"}\n')
    for name in ("notes.pdf", "deep/e.zip", "empty.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    with caplog.at_level(logging.WARNING):
        assert texts(tmp_path) == ["one"]
    assert "not read: deep/e.zip, link, notes.pdf" in caplog.text
    assert "empty.txt holds no record" in caplog.text


@pytest.mark.parametrize(("name", "reason"), [("missing", "does not exist"), ("file", "is a file"), (".", "holds no")])
def test_a_folder_without_anything_to_read_is_a_sentence(tmp_path, name, reason):
    if name == "file":
        (tmp_path / name).write_text("x")
    with pytest.raises(SourceError, match=reason):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "café au lait".encode("latin1"), "not UTF-8, the encoding that is expected (byte 0xe9)"),
        ("a.txt", "café".encode("utf-16"), "not UTF-8"),
        ("a.jsonl", '{"text": "café"}'.encode("latin1"), "not UTF-8"),
        ("a.jsonl.gz", b"no gzip", "cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", packed(b'{"text": "one"}\n' * 99)[:-20], "cannot be read: Compressed file ended"),
        ("a.jsonl.zst", b"no zstd", "cannot be read: ZSTD decompress failed"),
        ("a.jsonl.zst", zstd(b'{"text": "one"}\n' * 99)[:-5], "cannot be read: Truncated compressed stream"),
        ("a.parquet", b"no parquet", "cannot be read: Parquet"),
        ("a.parquet.gz", packed(b"no parquet"), "cannot be read: Parquet"),
        ("a.tsv", b"a fine film\t1\na poor one\t0\n", "Put a line with names before it"),
        ("a.csv", b"text,text\none,two\n", "the name `text` twice"),
        ("a.json", b'[{"text": "one"},]', "not JSON"),
        ("a.json", b"3", "a row is a JSON object, not a number"),
        ("a.csv", b"text\none,two\n", "more cells than the first line has names"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason_and_the_others_are_read(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.txt").write_text("fine")
    *_, bad, good = read(tmp_path)
    assert isinstance(bad, Malformed) and reason in bad.reason and name in bad.origin
    assert good.fields["text"] == "fine"


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", packed), (".zst", zstd)])
def test_nested_parquet_is_read_packed_or_not(tmp_path, ending, pack):
    talk = [{"from": "human", "value": "hi", "weight": None}, {"from": "gpt", "value": "hello", "weight": 1.0}]
    scores = [{"response": "a", "annotations": {"honesty": {"Rating": "5"}}, "score": 5.0}]
    scores.append({"response": "b", "annotations": None, "score": 1.0})
    rows = [{"conversations": talk}, {"conversations": None, "instruction": "q", "completions": scores}]
    pd.DataFrame(rows).to_parquet(tmp_path / "plain")
    (tmp_path / f"a.parquet{ending}").write_bytes(pack((tmp_path / "plain").read_bytes()))
    chat, ranked = read(tmp_path)
    assert [message["content"] for message in chat.fields["messages"]] == ["hi", "hello"]
    assert (ranked.fields["replies"], ranked.fields["ranks"]) == (["a", "b"], [1, 2])


def test_a_cell_that_holds_messages_as_json_is_these_and_other_brackets_are_text(tmp_path):
    talk = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
    frame = pd.DataFrame({"messages": [talk, None, None], "text": [None, "[1, 2]", "[unclosed"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    chat, list_, bracket = read(tmp_path)
    assert [message["content"] for message in chat.fields["messages"]] == ["hi", "hello"]
    assert [list_.fields["text"], bracket.fields["text"]] == ["[1, 2]", "[unclosed"]


def test_every_bad_line_of_a_file_is_found(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\nno\n{"title": 1}\n[]\n{"text": "two"}\n')
    found = read(tmp_path)
    assert [r.origin[-1] for r in found if isinstance(r, Malformed)] == ["2", "3", "4"]
    assert len(found) == 5


def test_parquet_values_are_read_by_batches_and_refused_by_field(tmp_path):
    when = pd.Timestamp("2024-01-01")
    frame = pd.DataFrame({"text": ["t"] * 600, "id": [f"x{i}" for i in range(600)], "group": None})
    frame.to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"text": [when]}).to_parquet(tmp_path / "b.parquet")
    message = {"role": "user", "content": "a", "images": ["p"], "name": None}
    pd.DataFrame({"messages": [[message]]}).to_parquet(tmp_path / "c.parquet")
    *rows, bad, chat = read(tmp_path)
    assert [row.fields["id"] for row in rows] == [f"x{i}" for i in range(600)]
    assert rows[-1].fields["group"] == "a.parquet:600"
    assert "`text` is of type " in bad.reason
    assert json.loads(json.dumps(chat.fields))["messages"] == [{"role": "user", "content": "a", "images": ["p"]}]


PARAGRAPH = "\n".join(["A line of some words that people might say to each other."] * 7) + "\n\n"


def test_a_long_text_is_cut_between_paragraphs_into_documents_of_their_own_groups(tmp_path):
    (tmp_path / "input.txt").write_text(PARAGRAPH * 100)
    found = read(tmp_path)
    cut = [record.fields["text"] for record in found]
    assert "".join(cut) == PARAGRAPH * 100
    assert all(text.endswith("\n\n") and SHORTEST <= len(text) <= LONGEST for text in cut[:-1]) and len(cut) > 15
    assert len({record.fields["group"] for record in found}) == len({r.fields["id"] for r in found}) == len(found)


@pytest.mark.parametrize(
    "text", ["word " * 5000, "line of words\n" * 2000, "x" * 20_000, "a\n\n" * 9000, "y" * LONGEST]
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_cutting_loses_nothing_whatever_the_text_and_however_it_comes(text, size):
    pieces = list(cut_text(text[start : start + size] for start in range(0, len(text), size)))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= LONGEST
    assert all(len(piece) > SHORTEST for piece in pieces[:-1])
    if " " in text or "\n" in text:
        assert all(piece[-1].isspace() for piece in pieces[:-1])


def test_files_of_one_name_in_two_folders_have_ids_and_groups_of_their_own(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "talk.txt").write_text(f"text of {folder}")
    found = read(tmp_path)
    assert [(r.fields["id"], r.fields["group"]) for r in found] == [("a/talk", "a/talk.txt"), ("b/talk", "b/talk.txt")]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.zst", "a.csv.gz", "a.parquet"])
def test_memory_does_not_grow_with_a_file(tmp_path, name):
    def peak(megabytes):
        path = tmp_path / name
        count = megabytes * 1_000_000 // len(PARAGRAPH)
        if name == "a.txt":
            path.write_text(PARAGRAPH * count)
        elif ".jsonl" in name:
            lines = (json.dumps({"text": PARAGRAPH}) + "\n") * count
            path.write_bytes(zstd(lines.encode()) if ".zst" in name else lines.encode())
        elif ".csv" in name:
            path.write_bytes(packed(("text\n" + f'"{PARAGRAPH}"\n' * count).encode()))
        else:
            pd.DataFrame({"text": [f"{i} {PARAGRAPH}" for i in range(count)]}).to_parquet(path, row_group_size=1000)
        source = FolderSource(kind="folder", path=str(tmp_path))
        tracemalloc.start()
        total = sum(len(record.fields["text"]) for record in source.read(tmp_path))
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total > 0.95e6 * megabytes
        return found

    peak(1)  # imports
    assert peak(8) < peak(1) + 2_000_000
