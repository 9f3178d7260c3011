"""Files of records in portions: every record in one of them, under its own line number."""

import json

import pytest

from components.data import portions as portions_module
from components.data.portions import check_problems, keep_problems, portions
from components.data.records import Document, Problems, RecordError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(portions_module, "PORTION_BYTES", 100)


def write(path, lines, *, mark=b"", end=b"\n"):
    path.write_bytes(mark + end.join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


def rows(count, size=20):
    return [{"id": f"d{i}", "text": f"{i} é " + "x" * size} for i in range(count)]


def read(files, **options):
    problems, names = Problems(), []
    for portion in portions(files, **options):
        own = [record.id for record in portion.read(Document, problems)]
        names.append(own)
    return names, problems


@pytest.mark.parametrize("options", [{}, {"mark": b"\xef\xbb\xbf"}, {"end": b"\r\n"}, {"end": b"\n\n"}])
def test_every_record_is_in_one_portion_whatever_a_file_begins_and_ends_with(tmp_path, options):
    files = [write(tmp_path / f"{n}.jsonl", rows(n), **options) for n in (7, 1, 0, 12)]
    names, problems = read(files)
    assert [name for own in names for name in own] == [f"d{i}" for n in (7, 1, 12) for i in range(n)]
    assert len(names) > 4 and not problems.count
    found = list(portions(files))
    assert [portion.records for portion in found] == list(map(len, names))
    for file in files:
        own = [portion for portion in found if portion.file == file]
        assert b"".join(file.read_bytes()[p.start : p.end] for p in own) == file.read_bytes()
        assert all(p.end - p.start >= 100 for p in own[:-1])


def test_a_limit_counts_records_and_not_lines(tmp_path):
    files = [write(tmp_path / "a.jsonl", rows(3), end=b"\n\n"), write(tmp_path / "b.jsonl", rows(9))]
    for limit in range(1, 12):
        names, _ = read(files, limit=limit)
        assert sum(map(len, names)) == limit == sum(portion.records for portion in portions(files, limit))
    (tmp_path / "c.jsonl").write_bytes(b"\xff")  # not reached: no more is read
    assert sum(map(len, read([*files, tmp_path / "c.jsonl"], limit=12)[0])) == 12


def test_faults_are_named_by_the_lines_of_the_whole_file_and_added_up(tmp_path):
    lines = [b"no" if i % 3 == 2 else row for i, row in enumerate(rows(90))]
    file = write(tmp_path / "a.jsonl", lines)
    names, problems = read([file])
    assert sum(map(len, names)) == 60 and problems.count == 30
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        keep_problems(problems, folder)
    with pytest.raises(RecordError) as caught:
        check_problems(folders, "document")
    said = str(caught.value).splitlines()
    assert said[0].startswith("60 malformed") and said[-1].strip() == "and 40 more"
    assert [line.split(": ")[0].strip() for line in said[1:-1]] == [f"{file}:{3 * i + 3}" for i in range(20)]


def test_another_encoding_is_said(tmp_path):
    file = write(tmp_path / "a.jsonl", [*rows(9), b'{"id": "z", "text": "caf\xe9"}'])
    with pytest.raises(RecordError, match=r"a.jsonl: not UTF-8.*0xe9"):
        read([file])
