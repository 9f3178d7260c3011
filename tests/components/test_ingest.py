"""Ingest as a user meets it: what changed is seen, what ends early leaves nothing, every problem is a sentence."""

import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
import yaml

from components.data.digests import folder_md5
from tests.contracts.imports import ROOT


class Place:
    """A working directory with parameters that name the folder `raw`, as a relative path."""

    def __init__(self, root):
        self.root, self.raw = root, root / "raw"
        self.raw.mkdir()
        self.source(kind="folder", path="raw")

    def source(self, *, on_bad_row="fail", **source):
        tree = yaml.safe_load((ROOT / "params.yaml").read_text())
        tree["ingest"] = {"source": source, "on_bad_row": on_bad_row}
        (self.root / "params.yaml").write_text(yaml.safe_dump(tree))

    def start(self, *arguments, cwd=None, limit=None, **variables):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GPTLINEAGE_")}
        return subprocess.Popen(
            [sys.executable, "-m", "components.stages.ingest", *arguments],
            cwd=cwd or self.root,
            env={**environment, "PYTHONPATH": str(ROOT), **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,
        )

    def ingest(self, *arguments, **options):
        process = self.start(*arguments, **options)
        output, _ = process.communicate(timeout=60)
        assert "Traceback" not in output
        return process.returncode, output

    def accept(self):
        pointer = {"outs": [{"md5": folder_md5(self.root / "data"), "path": "data"}]}
        (self.root / "data.dvc").write_text(yaml.safe_dump(pointer))

    def documents(self):
        lines = (self.root / "data/documents/part-00000.jsonl").read_text().splitlines()
        return [json.loads(line)["text"] for line in lines]

    def left(self):
        """What lies beside the inputs."""
        names = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}
        return {name for name in names if not name.startswith(("raw/", "params.yaml", "data.dvc"))}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_folder_whose_files_changed_is_built_again_and_never_called_unchanged(place):
    (place.raw / "a.txt").write_text("one")
    assert place.ingest()[0] == 0
    place.accept()
    assert "unchanged" in place.ingest()[1]
    stat = (place.raw / "a.txt").stat()
    (place.raw / "a.txt").write_text("two")  # of the same size, and the same time
    os.utime(place.raw / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for _ in range(2):
        status, output = place.ingest()
        assert status == 1 and "dvc add data" in output and "unchanged" not in output
        assert place.documents() == ["two"]
    place.accept()
    assert "unchanged" in place.ingest()[1]
    (place.raw / "b.txt").write_text("three")
    assert place.ingest()[0] == 1 and place.documents() == ["two", "three"]


def test_force_builds_what_has_not_changed(place):
    (place.raw / "a.txt").write_text("one")
    place.ingest()
    (place.root / "data/documents/part-00000.jsonl").write_text("")
    assert "built" in place.ingest("--force")[1]
    assert place.documents() == ["one"]


def test_a_source_that_is_not_here_leaves_the_data_that_dvc_brought(place):
    (place.raw / "a.txt").write_text("one")
    place.ingest()
    place.accept()
    (place.raw / "a.txt").unlink()
    place.raw.rmdir()
    status, output = place.ingest()
    assert status == 0 and "not on this machine" in output
    place.source(kind="folder", path="elsewhere")
    status, output = place.ingest()
    assert status == 1 and "elsewhere does not exist" in output and place.documents() == ["one"]


def test_a_relative_source_is_the_repositorys_wherever_the_stage_works(place):
    (place.raw / "a.txt").write_text("one")
    variant = place.root / ".lineage/variants/x"
    variant.mkdir(parents=True)
    (variant / "params.yaml").write_bytes((place.root / "params.yaml").read_bytes())
    status, output = place.ingest(cwd=variant, GPTLINEAGE_ROOT=str(place.root))
    assert status == 0, output
    assert (variant / "data/documents/part-00000.jsonl").exists()


def test_all_bad_rows_are_counted_and_twenty_are_shown(place):
    row = json.dumps({"prompt": "q", "chosen": "same", "rejected": "same"})
    (place.raw / "a.jsonl").write_text(f"{row}\n" * 15)
    (place.raw / "b.jsonl").write_text('{"messages": null}\n' * 10)
    (place.raw / "c.txt").write_bytes("café".encode("latin1"))
    status, output = place.ingest()
    assert status == 1 and "25 malformed record(s)" in output and "and 5 more" in output
    assert "1 file(s) that cannot be read to their end" in output and "c.txt: not UTF-8" in output
    assert output.count("raw/a.jsonl:") == 15 and output.count("raw/b.jsonl:") == 5
    assert place.left() == set()


def test_two_files_that_differ_in_a_byte_order_mark_hold_one_text(place):
    (place.raw / "a.txt").write_bytes(b"\xef\xbb\xbfhello there")
    (place.raw / "b.txt").write_bytes(b"hello there")
    place.ingest()
    assert place.documents() == ["hello there"] * 2


def test_a_full_disk_names_the_path_and_leaves_the_data_as_they_were(place):
    (place.raw / "a.txt").write_text("one")
    place.ingest()
    before = place.left()
    (place.raw / "b.txt").write_text("some words of a long text\n" * 20_000)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    status, output = place.ingest(limit=limit)
    assert status == 1 and "documents/part-00000.jsonl cannot be written" in output, output
    assert place.left() == before and place.documents() == ["one"]


def test_a_build_that_is_stopped_leaves_nothing_half_written(place):
    (place.raw / "a.txt").write_text("one")
    place.ingest()
    before = place.left()
    with (place.raw / "b.jsonl").open("w") as out:
        out.writelines(json.dumps({"text": f"text {number}"}) + "\n" for number in range(400_000))
    process = place.start()
    deadline = time.monotonic() + 30
    while not list(place.root.glob(".lineage/downloads/partial/*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and "stopped by SIGTERM" in output, output
    assert place.left() == before and place.documents() == ["one"]


def test_what_is_read_of_a_preference_and_what_is_not_is_said(place):
    rows = [{"prompt": f"q{i}", "chosen": "x", "rejected": "y", "score": 1.5} for i in range(3)]
    (place.raw / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "not used: column `score` (3)" in place.ingest()[1]


def test_rows_that_are_skipped_are_shown_and_counted_in_the_log_and_in_a_report(place):
    good, bad = json.dumps({"text": "one"}), json.dumps({"title": "x"})
    empty = json.dumps({"question": "q", "answer": ""})
    (place.raw / "a.jsonl").write_text(f"{good}\n{bad}\n{empty}\nno json\n")
    status, output = place.ingest()
    assert status == 1 and "3 malformed record(s)" in output and "set ingest.on_bad_row to skip" in output
    place.source(kind="folder", path="raw", on_bad_row="skip")
    status, output = place.ingest()
    assert status == 0 and "skipped 3 malformed record(s)" in output and "raw/a.jsonl:4: not JSON" in output
    assert "a.jsonl: plain text: 1 documents; 3 refused" in output
    assert place.documents() == ["one"]
    report = json.loads((place.root / "data/skipped.json").read_text())
    assert report["kept"] == {"documents": 1} and report["skipped"] == {"a.jsonl": 3}
    assert [(row["file"], row["row"]) for row in report["first"]] == [("a.jsonl", 2), ("a.jsonl", 3), ("a.jsonl", 4)]
    place.accept()
    assert "unchanged" in place.ingest()[1]
    place.source(kind="folder", path="raw", on_bad_row="fail")
    assert place.ingest()[0] == 1 and place.documents() == ["one"]


def test_to_skip_where_nothing_is_wrong_changes_nothing(place):
    (place.raw / "a.txt").write_text("one")
    place.ingest()
    place.accept()
    place.source(kind="folder", path="raw", on_bad_row="skip")
    assert "unchanged" in place.ingest()[1]
    assert "built" in place.ingest("--force")[1] and "unchanged" in place.ingest()[1]


def test_a_file_that_breaks_off_is_never_skipped(place):
    (place.raw / "a.txt").write_text("one")
    (place.raw / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "two"}\n' * 99)[:-20])
    place.source(kind="folder", path="raw", on_bad_row="skip")
    status, output = place.ingest()
    assert status == 1 and "1 file(s) that cannot be read to their end" in output and "b.jsonl.gz" in output
    assert place.left() == set()


def test_the_log_names_the_format_of_each_file(place):
    (place.raw / "a.jsonl").write_text(json.dumps({"conversations": [{"from": "human", "value": "hi"}]}) + "\n")
    (place.raw / "b.csv").write_text("instruction,output,text\nSay hi.,hi,\n,,a text\n")
    for number in range(30):
        (place.raw / f"c{number}.txt").write_text(f"text {number}")
    output = place.ingest()[1]
    assert "a.jsonl: conversations of ShareGPT's form: 1 prompts" in output
    assert "b.csv: instructions of Alpaca's form: 1 demonstrations; plain text: 1 documents" in output
    assert "other files: plain text: 12 documents" in output  # 20 are said one by one


def test_a_mixture_is_one_value_of_the_parameters(place):
    (place.raw / "a.txt").write_text("one")
    (place.raw / "deep").mkdir()
    (place.raw / "deep/b.txt").write_text("two")
    parts = [{"weight": 1.0, "source": {"kind": "folder", "path": path}} for path in ("raw", "raw/deep")]
    place.source(kind="mixture", parts=parts)
    status, output = place.ingest()
    assert status == 0 and place.documents() == ["one", "two", "two"], output
    place.accept()
    assert "unchanged" in place.ingest()[1]
    parts[1]["weight"] = 2.0
    place.source(kind="mixture", parts=parts)
    assert "ingest.source.parts.1.weight: Input should be less than or equal to 1" in place.ingest()[1]


def test_explain_shows_what_the_first_rows_become_and_builds_nothing(place):
    rows = [{"question": "why?", "answer": "so"}, {"title": 1}, {"question": "q", "answer": ""}, {"text": "late"}]
    (place.raw / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, output = place.ingest("--explain", "raw/a.jsonl", "--rows", "3")
    lines = [re.split(r" {2,}", line) for line in output.splitlines()]
    assert status == 0 and lines[:2] == [
        ["row", "becomes", "format", "content, or the reason"],
        ["1", "demonstration", "questions and answers", "user: why? | assistant: so"],
    ]
    assert lines[2][:2] == ["2", "refused"] and "no known format" in lines[2][2]
    assert lines[3][:3] == ["3", "refused", "questions and answers"] and "at least 1 character" in lines[3][3]
    assert len(lines) == 4 and place.left() == set()
    assert "nowhere.jsonl is no file" in place.ingest("--explain", "nowhere.jsonl")[1]
    (place.raw / "b.zip").write_text("x")
    assert "its name ends in none of .txt" in place.ingest("--explain", "raw/b.zip")[1]
