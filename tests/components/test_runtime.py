"""What surrounds a stage's work: who may do it, and what is said when it is cut short; stages run as for DVC."""

import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from components import params as parameters
from components.pipelines import open_pipeline
from components.state import how_it_goes_on, state_folder
from tests.contracts.imports import ROOT

PROGRAM = """
import os, pathlib, time
from dataclasses import replace
from components import runtime
from components.pipelines import open_pipeline
runtime.StageTracker = runtime.SilentTracker  # what is tracked is no matter here
def work(stage):
    {work}
pipeline = open_pipeline(root=pathlib.Path({root}))
stages = {**pipeline.stages, "pretrain": replace(pipeline.stages["pretrain"], run=work)}
runtime.run_stage("pretrain", replace(pipeline, stages=stages))
"""
HOLD = """print("working", stage.state.name, flush=True)
    (stage.state / f"step-{len(list(stage.state.iterdir())):06d}").mkdir()
    while not pathlib.Path("go").exists(): time.sleep(0.02)"""
FILL = """stage.path("model.partial").mkdir()
    (stage.path("model.partial") / "model.safetensors").write_text("half")
    stage.path("history.csv").write_text("half")
    (stage.state / "step-000008.partial").mkdir()
    os.write(os.open("/dev/full", os.O_WRONLY), b"x")"""
# What safetensors raises; it moves its file into place, so that no device can stand in for a full disk.
FILL_BY_SAFETENSORS = """from safetensors import SafetensorError
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")"""


PIPELINE = open_pipeline(root=ROOT)


@pytest.fixture
def root(tmp_path):
    """A repository with one stage, which depends on nothing but its parameters."""
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"pretrain": {"deps": [], "params": ["pretrain"]}}}))
    return tmp_path


def start(folder, work):
    folder.mkdir(exist_ok=True)
    program = PROGRAM.replace("{work}", work).replace("{root}", repr(str(ROOT)))
    environment = {"PYTHONPATH": str(ROOT), "GPTLINEAGE_STATE": str(folder.parent / "state"), "PATH": ""}
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def copy(root, name):
    (root / name).mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / file, root / name / file)
    return root / name


def lines_until(process, words):
    """The lines up to one with these words."""
    found = []
    for line in process.stdout:
        found.append(line)
        if words in line:
            return found
    raise AssertionError("".join(found))


def test_two_copies_of_the_repository_do_the_same_work_one_after_the_other(root):
    first, second = copy(root, "first"), copy(root, "second")
    holder = start(first, HOLD)
    lines_until(holder, "working")
    waiter = start(second, HOLD)
    said = lines_until(waiter, "waiting for it to finish")
    assert f"process {holder.pid} in {first}" in said[-1]
    (second / "go").touch()
    time.sleep(0.2)
    assert waiter.poll() is None and not (second / "artifacts").exists()
    (first / "go").touch()
    assert holder.wait(timeout=60) == 0, holder.stdout.read()
    rest, _ = waiter.communicate(timeout=60)
    assert waiter.returncode == 0 and "working pretrain-" in rest
    assert not [path for path in (root / "state").iterdir() if path.is_dir()]
    assert all((folder / "artifacts/pretrain/metrics.json").exists() for folder in (first, second))


def test_a_stage_that_was_killed_hands_its_lease_and_its_checkpoints_on(root):
    first, second = copy(root, "first"), copy(root, "second")
    holder = start(first, HOLD)
    lines_until(holder, "working")
    waiter = start(second, HOLD)
    lines_until(waiter, "waiting for it to finish")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    lines_until(waiter, "working")
    (state,) = (path for path in (root / "state").iterdir() if path.is_dir())
    assert (state / "step-000000").exists()
    (second / "go").touch()
    assert waiter.wait(timeout=60) == 0


def test_a_last_checkpoint_is_promised_only_where_there_is_one(root):
    folder = copy(root, "first")
    early = start(folder, "print('working', flush=True)\n    time.sleep(60)")
    lines_until(early, "working")
    early.send_signal(signal.SIGTERM)
    output, _ = early.communicate(timeout=60)
    assert early.returncode == 1
    assert "pretrain: stopped; the same command does pretrain again from its start" in output
    late = start(folder, HOLD)
    lines_until(late, "working")
    time.sleep(0.2)
    late.send_signal(signal.SIGTERM)
    output, _ = late.communicate(timeout=60)
    assert "stopped; the same command goes on from its last checkpoint" in output


def test_other_work_has_no_checkpoint_to_go_on_from(root, monkeypatch):
    monkeypatch.setenv("GPTLINEAGE_STATE", str(root / "state"))
    tree = parameters.read_tree(root / "params.yaml")
    (state_folder("pretrain", PIPELINE, tree, root) / "step-000001").mkdir(parents=True)
    assert "last checkpoint" in how_it_goes_on("pretrain", PIPELINE, root)
    tree["pretrain"]["batch_size"] += 1
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    assert "again from its start" in how_it_goes_on("pretrain", PIPELINE, root)


def test_a_treatment_goes_on_with_the_shards_that_are_missing(monkeypatch, tmp_path):
    """Its state has no checkpoints; what is done of it is kept as folders of shards."""
    folder = tmp_path / "treat-0"
    monkeypatch.setattr("components.state.state_folder", lambda *_: folder)
    (folder / "1_exact_duplicates/kept").mkdir(parents=True)
    assert "again from its start" in how_it_goes_on("pretrain", PIPELINE, ROOT)
    (folder / "1_exact_duplicates/kept/00000").mkdir()
    assert "goes on with the shards that are missing" in how_it_goes_on("pretrain", PIPELINE, ROOT)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("work", [FILL, FILL_BY_SAFETENSORS], ids=["a file", "safetensors"])
def test_a_full_disk_is_a_sentence_with_the_place_and_leaves_nothing_half_written(root, work):
    folder = copy(root, "first")
    (folder / "artifacts/pretrain").mkdir(parents=True)
    process = start(folder, work)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"pretrain: the disk is full ({folder}/artifacts/pretrain: " in output and "MiB free" in output
    assert "Traceback" not in output
    assert not list((folder / "artifacts/pretrain").iterdir())
    assert not list((root / "state").glob("*/*.partial"))
