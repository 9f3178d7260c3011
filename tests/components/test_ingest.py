"""Ingest as a user meets it: what changed is seen, what ends early leaves nothing, every problem is a sentence."""

import json
import os
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

    def source(self, **source):
        tree = yaml.safe_load((ROOT / "params.yaml").read_text())
        tree["ingest"]["source"] = source
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
    assert status == 1 and "26 malformed record(s)" in output and "and 6 more" in output
    assert output.count("a.jsonl:") == 15 and output.count("b.jsonl:") == 5
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
    assert "column `score` of 3 preference(s) is not used" in place.ingest()[1]
