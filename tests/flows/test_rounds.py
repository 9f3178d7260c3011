"""Rounds by robots: asked, answered, learnt from; only what is new runs, and a round that nobody answers waits."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import yaml

from components.data.digests import file_md5
from components.labeling.journal import Journal
from flows.server import free_port
from tests.components.labels import SOURCE, said
from tests.contracts.imports import ROOT
from tests.flows.repository import TINY, edited, make_repository
from tests.flows.watching import is_up, outcomes, wait_for

pytestmark = pytest.mark.slow

NODES = ("sft", "sft-1", "sft-2")
ASK = ("python", "-m", "flows.rounds", "--tasks", "24", "--replies", "3")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A tiny repository with a pretrained model, and the pipeline of rounds."""
    repository = make_repository(tmp_path_factory.mktemp("rounds") / "home")
    shutil.copytree(ROOT / "pipelines/rounds", repository.root / "pipelines/rounds")
    path = repository.root / "pipelines/rounds/params.yaml"
    sections = yaml.safe_load(path.read_text())
    own = {key: value for key, value in TINY.items() if key.split(".")[0] in sections}
    path.write_text(edited(path.read_text(), own | {"compare.validation_fraction": 0.3}))
    repository.run("bash", "-c", "python -m flows.lineage --until pretrain")
    return repository


def export(repository):
    repository.run("python", "-m", "components.labeling.journal", "export")
    repository.dvc("add", "labels")


def rows(repository, node):
    """How many rows a node was fine-tuned on."""
    return json.loads((repository.root / f"artifacts/rounds/{node}/metrics.json").read_text())["rows"]


def journal_of(repository):
    return Journal(repository.root / "labels.sqlite")


@contextlib.contextmanager
def in_background(repository, name, *command):
    """A command that goes on while the block runs; what it says is in a file."""
    with (repository.root.parent / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=repository.root, env=repository.environment, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def answered(repository):
    """While the block runs, the server that people open serves the repository's tasks, and robots press its routes."""
    port = free_port()
    robots = ("python", "-m", "components.labeling.robots", "--url", f"http://127.0.0.1:{port}", "--patience", "900")
    with in_background(repository, "server", "python", "-m", "components.web", "--port", str(port)):
        wait_for(lambda: is_up(port), 60)
        with in_background(repository, "robots", *robots) as process:
            yield process


def ended(process, seconds=400):
    """What a flow said that ends by itself and well."""
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def test_ctrl_c_ends_the_waiting_and_the_same_command_goes_on_through_two_rounds(repository):
    process = repository.start(*ASK, "--until-round", "1")
    journal = journal_of(repository)
    wait_for(lambda: process.poll() is not None or journal.progress(), 300)
    asked = journal.tasks()
    assert asked, process.stdout.read()
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode and "Traceback" not in said and not journal.answers()
    assert {str(path) for path in (repository.root / "artifacts/rounds").iterdir()} == {
        str(repository.root / "artifacts/rounds/sft")
    }
    with answered(repository) as robots:
        output = ended(repository.start(*ASK, "--until-round", "2"))
        assert robots.poll() is None, (repository.root.parent / "robots.log").read_text()
    assert journal.tasks()[: len(asked)] == asked and [each.closed for each in journal.progress()] == [True, True]
    found = outcomes(output)
    assert {name for name, state in found.items() if state == "Completed"} >= {
        f"{stage}-{k}" for stage in ("gather", "sft", "compare", "reward", "ppo", "evaluate") for k in (1, 2)
    }
    newest = {source.model.split("/")[-2] for task in journal.tasks() if task.round == 2 for source in task.sources}
    assert newest == {"ppo-1"}
    answers = journal.answers()
    assert {each.worker for each in answers} == {"robot-1", "robot-2", "robot-3"}
    assert {each.page_version for each in answers} == {"robots"}
    journal.close()


def test_the_run_of_a_lineage_says_which_round_it_came_to_and_which_labels_it_read(repository):
    runs = {run.data.tags["command"].partition("--until ")[2]: run.data.tags
            for run in repository.runs("tags.kind = 'lineage' and tags.pipeline = 'rounds'")}  # fmt: skip
    (out,) = yaml.safe_load((repository.root / "labels.dvc").read_text())["outs"]
    assert (runs["evaluate-2"]["round"], runs["evaluate-2"]["labels"]) == ("2", out["md5"])
    assert runs["evaluate-1"]["round"] == "1" and runs["evaluate-1"]["labels"] not in (out["md5"], "unversioned")
    assert not {"round", "labels"} & runs["sft"].keys()


def test_afterwards_both_doors_have_nothing_to_do_and_the_third_round_waits(repository):
    output = repository.dvc("repro", "pipelines/rounds/dvc.yaml:evaluate-2")
    assert "Running stage" not in output and output.count("didn't change, skipping") >= 13
    output = repository.run("python", "-m", "flows.lineage", "--pipeline", "rounds")
    assert set(outcomes(output).values()) == {"Cached"} and "waiting for people's answers: gather-3" in output
    plan = repository.flow("--pipeline", "rounds", "--plan")
    assert sum("waits for people's answers" in line for line in plan.splitlines()) == 6
    assert set(outcomes(repository.run(*ASK, "--until-round", "2")).values()) == {"Cached"}


def test_no_conversation_that_judges_trains_in_any_round(repository):
    splits = {}
    for number in (1, 2):
        for split in ("train", "judge", "validation", "test"):
            path = repository.root / f"artifacts/rounds/compare-{number}/{split}.jsonl"
            for line in path.read_text().splitlines():
                assert splits.setdefault(json.loads(line)["group"], split) == split
    tests = (repository.root / "artifacts/prepare/prompts/test.jsonl").read_text().splitlines()
    assert splits and not splits.keys() & {json.loads(line)["group"] for line in tests}


def test_a_withdrawn_answer_makes_its_round_stale_and_those_that_learn_from_it(repository):
    journal = journal_of(repository)
    answer = next(each for each in journal.answers() if each.round == 2 and each.kind == "ranking")
    journal.withdraw(answer.worker, answer.id)
    journal.close()
    export(repository)
    plan = " ".join(repository.flow("--pipeline", "rounds", "--plan", "--until", "evaluate-2").split())
    assert "gather-1 nothing to do" in plan and "gather-2 runs: labels/round-02 is modified" in plan


def test_what_somebody_would_rather_have_read_is_learnt_in_its_round_and_later(repository):
    digests = [file_md5(repository.root / f"artifacts/rounds/{node}/model/model.safetensors") for node in NODES]
    assert len({*digests}) == 1  # nobody had written anything: the same data and seed, the same weights
    journal = journal_of(repository)
    journal.consent("ann", "1")
    journal.thumb("ann", conversation="chat", messages=said("hello you"), reply="warm", source=SOURCE, value=-1,
                  correction="the cat likes you.")  # fmt: skip
    journal.close()
    export(repository)
    assert outcomes(repository.flow("--pipeline", "rounds", until="sft-2"))["sft-2"] == "Completed"
    assert [rows(repository, node) for node in NODES] == [rows(repository, "sft")] * 2 + [rows(repository, "sft") + 1]
