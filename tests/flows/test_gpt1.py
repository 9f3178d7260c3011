"""GPT's pipeline with one of its tasks: through both doors, killed and resumed, its models, figures and report."""

import csv
import json
import os
import shutil
import signal
import time

import pytest
import yaml

from tests.contracts.imports import ROOT
from tests.flows.repository import TINY, edited, make_repository
from tests.flows.watching import outcomes

pytestmark = pytest.mark.slow

MODELS = ("classification", "classification-plain", "classification-scratch")
OTHERS = ("entailment", "similarity", "choice")
SIZES = {"min_words": 2, "max_words": 20, "train": 40, "validation": 8, "test": 20}


def of_one_task(text):
    """The pipeline's parameters, tiny, without what its other tasks have."""
    tree = yaml.safe_load(text)
    tree = {key: value for key, value in tree.items() if not key.removeprefix("labelled-").startswith(OTHERS)}
    own = [task for task in tree["evaluate"]["tasks"] if task.get("name", "text") not in OTHERS]
    sections = {key: value for key, value in TINY.items() if key.split(".")[0] in tree}
    changes = {"presets": {"default": {}}, "gates": {}, "finetune.epochs": 2, "finetune.batch_size": 8}
    changes |= {"finetune.checkpoint_interval": 1, "evaluate.tasks": own}
    changes |= {f"labelled-classification.source.{key}": value for key, value in SIZES.items()}
    return edited(yaml.safe_dump(tree, sort_keys=False), sections | changes)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = make_repository(tmp_path_factory.mktemp("gpt1") / "home")
    folder = repository.root / "pipelines/gpt1"
    shutil.copytree(ROOT / "pipelines/gpt1", folder)
    declared = (folder / "pipeline.py").read_text()
    tasks = '("classification", "entailment", "similarity", "choice")'
    assert tasks in declared
    (folder / "pipeline.py").write_text(declared.replace(tasks, '("classification",)'))
    (folder / "params.yaml").write_text(of_one_task((folder / "params.yaml").read_text()))
    return repository


def test_it_is_killed_and_goes_on_and_after_it_neither_door_has_anything_to_do(repository):
    nodes = ("ingest", "prepare", "pretrain", "labelled-classification", *MODELS, "evaluate")
    process = repository.start("python", "-m", "flows.lineage", "--pipeline", "gpt1")
    state, deadline = repository.root / ".lineage/state", time.monotonic() + 300
    while not list(state.glob("classification-*/step-*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    output = repository.flow("--pipeline", "gpt1")
    assert "resuming from" in output
    weights = (repository.root / "artifacts/gpt1/classification/model/model.safetensors").read_bytes()
    assert outcomes(repository.flow("--pipeline", "gpt1")) == dict.fromkeys(nodes, "Cached")
    assert "Running stage" not in repository.dvc("repro", "pipelines/gpt1/dvc.yaml")
    # The same bits without having been killed.
    repository.flow("--pipeline", "gpt1", "--force", "classification", until="classification")
    assert (repository.root / "artifacts/gpt1/classification/model/model.safetensors").read_bytes() == weights


def test_its_models_stand_side_by_side(repository):
    folder = repository.root / "artifacts/gpt1"
    figures = json.loads((folder / "evaluate/metrics.json").read_text())
    rows = [json.loads(line) for line in (folder / "labelled-classification/items/test.jsonl").read_text().splitlines()]
    commonest = max(sum(row["label"] == label for row in rows) for label in ("kept", "moved"))
    for name in MODELS:
        own = figures[name]["classification"]
        assert own["items"] == 20 and own["majority"] == commonest / 20
        assert own["accuracy_low"] <= own["accuracy"] <= own["accuracy_high"] and -1 <= own["matthews"] <= 1
    base = figures["classification-scratch"]["classification"]
    own = figures["classification"]["classification"]
    assert own["accuracy_difference"] == pytest.approx(own["accuracy"] - base["accuracy"])
    assert "accuracy_difference" not in base
    report = (folder / "evaluate/report.md").read_text()
    assert "classification-plain, classification: accuracy above classification-scratch" in report


def test_its_models_are_registered_and_tied_to_the_one_they_are_made_from(repository):
    client = repository.client()
    for name in MODELS:
        version = client.get_model_version_by_alias(f"gpt1-{name}", "candidate")
        assert {key.split(".")[1] for key in version.tags if key.startswith("parent.")} == {"pretrain"}
    alone = json.loads((repository.root / "artifacts/gpt1/classification-scratch/metrics.json").read_text())
    assert alone["rows"] == 40 and alone["classes"] == ["kept", "moved"]


@pytest.mark.parametrize("batch_size", [8, 1])  # with one row a batch the second process has none
def test_two_processes_learn_what_one_does(repository, batch_size):
    path = repository.root / "pipelines/gpt1/params.yaml"
    before, found = path.read_text(), {}
    try:
        for devices in (1, 2):
            changes = {"compute.devices": devices, "compute.accelerator": "cpu", "finetune.batch_size": batch_size}
            changes |= {"finetune.epochs": 1, "finetune.labels": 8}
            path.write_text(edited(before, changes))
            repository.run("python", "-m", "components.stages", "--pipeline", "pipelines/gpt1", "classification")
            history = repository.root / "artifacts/gpt1/classification/history.csv"
            with history.open() as file:
                rows = list(csv.DictReader(file))
            found[devices] = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    finally:
        path.write_text(before)
    assert len(found[1]) == 8 // batch_size
    assert found[2] == pytest.approx(found[1], abs=1e-4)
