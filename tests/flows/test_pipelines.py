"""A pipeline of one's own: new files and nothing else, through both doors, killed and resumed, inside and outside."""

import json
import os
import signal
import time

import pytest
import yaml

from tests.contracts.imports import ROOT
from tests.extending import FILES
from tests.flows.repository import TINY, edited
from tests.flows.watching import outcomes

pytestmark = pytest.mark.slow

STAGE, PIPELINE = FILES["components/stages/polish.py"], FILES["pipelines/twice/pipeline.py"]
NODES = ("pretrain", "polish", "polish-2", "evaluate")


def parameters():
    """The pipeline's own file: what its nodes read, and no more."""
    tree = yaml.safe_load(edited((ROOT / "params.yaml").read_text(), TINY))
    own = {key: tree[key] for key in ("seed", "limits", "model", "compute", "pretrain", "generation", "evaluate")}
    own["evaluate"]["tasks"] = [{"kind": kind} for kind in ("replies", "text", "divergence", "forgetting")]
    own["polish"] = {key: tree["sft"][key] for key in ("checkpoint_interval", "optimizer", "batch_size")}
    own["polish"] |= {"max_steps": 400, "checkpoint_interval": 1, "validation_batches": 1}
    own["gates"] = {"polish": [{"metric": "polish.bits_per_byte", "maximum": 99.0}]}
    return own | {"polish-2": {"max_steps": 2}, "presets": {"default": {}}}


def write(folder):
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters(), sort_keys=False))


@pytest.fixture(scope="module")
def repository(finished, tmp_path_factory):
    """A repository in which the default pipeline has run, with a new stage and a new pipeline: three new files."""
    repository = finished.copy(tmp_path_factory.mktemp("own") / "home")
    (repository.root / "components/stages/polish.py").write_text(STAGE)
    write(repository.root / "pipelines/twice")
    return repository


def test_it_is_killed_and_goes_on_and_the_second_run_has_nothing_to_do(repository):
    process = repository.start("python", "-m", "flows.lineage", "--pipeline", "twice")
    state, deadline = repository.root / ".lineage/state", time.monotonic() + 300
    while not list(state.glob("polish-*/step-*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    output = repository.flow("--pipeline", "twice")
    assert "resuming from" in output
    assert outcomes(output) == {"ingest": "Cached", "pretrain": "Cached", "polish": "Completed",
                                "polish-2": "Completed", "evaluate": "Completed"}  # fmt: skip
    assert outcomes(repository.flow("--pipeline", "twice")) == dict.fromkeys(("ingest", *NODES), "Cached")
    assert repository.dvc("repro", "pipelines/twice/dvc.yaml").count("didn't change, skipping") >= len(NODES)


def test_nothing_else_was_edited(repository):
    changed = {line[3:] for line in repository.run("git", "status", "--porcelain", "-uall").splitlines()}
    made = {"components/stages/polish.py", "pipelines/twice/pipeline.py", "pipelines/twice/params.yaml"}
    written = {"pipelines/twice/dvc.yaml", "pipelines/twice/dvc.lock"}
    ignored = {name for name in changed if name.endswith(".gitignore") or name == ".server.log"}
    assert changed - ignored - {"artifacts/twice/evaluate/headline.json"} == made | written


def test_models_are_registered_and_tied_to_those_they_are_made_from(repository):
    client = repository.client()
    for node, parents in (("pretrain", set()), ("polish", {"pretrain"}), ("polish-2", {"polish"})):
        version = client.get_model_version_by_alias(f"twice-{node}", "candidate")
        assert {key.split(".")[1] for key in version.tags if key.startswith("parent.")} == parents
        assert (version.tags["pipeline"], version.tags["node"]) == ("twice", node)
    assert client.get_model_version_by_alias("twice-polish", "champion")  # its gate is open
    assert client.get_model_version_by_alias("gpt-sft", "candidate").tags["pipeline"] == "default"


def test_its_report_has_its_models(repository):
    out = repository.root / "artifacts/twice/evaluate"
    report = (out / "report.md").read_text()
    assert "| twice-polish | passed" in report and "plots/polish-2.png" in report
    assert {"polish/kl", "polish-2/kl"} & json.loads((out / "headline.json").read_text()).keys() == {"polish-2/kl"}


def test_a_value_of_one_node_reaches_what_follows_and_nothing_else_through_the_other_door(repository):
    path = repository.root / "pipelines/twice/params.yaml"
    path.write_text(edited(path.read_text(), {"polish-2.max_steps": 3}))
    output = repository.dvc("repro", "pipelines/twice/dvc.yaml")
    ran = [node for node in NODES if f"Running stage 'pipelines/twice/dvc.yaml:{node}'" in output]
    assert ran == ["polish-2", "evaluate"]
    assert outcomes(repository.flow("--pipeline", "twice")) == dict.fromkeys(("ingest", *NODES), "Cached")


def test_an_override_addresses_a_node(repository):
    output = repository.flow("--pipeline", "twice", "--set", "polish-2.optimizer.learning_rate=0.002")
    found = outcomes(output)
    assert found["polish-2"] == found["evaluate"] == "Completed"
    assert {found["pretrain"], found["polish"]} <= {"Cached", "Restored"}
    said = repository.flow("--pipeline", "twice", "--set", "polish-2.nothing=1", check=False)
    assert "no such parameter: polish-2.nothing" in said


def test_a_pipeline_outside_the_repository_with_a_stage_of_its_own(repository, tmp_path):
    folder = tmp_path / "mine"
    write(folder)
    text = PIPELINE.replace('node("polish",', 'node("polish", stage="shine",').replace(
        'stage="polish"', 'stage="shine"'
    )
    (folder / "pipeline.py").write_text(text)
    (folder / "shine.py").write_text(STAGE)
    tree = parameters()
    tree["shine"] = tree.pop("polish") | {"max_steps": 3}
    (folder / "params.yaml").write_text(yaml.safe_dump(tree | {"polish": {}}, sort_keys=False))
    output = repository.flow("--pipeline", str(folder), until="polish-2")
    assert outcomes(output) == {"ingest": "Cached"} | dict.fromkeys(NODES[:3], "Completed")
    graph = yaml.safe_load((repository.root / "pipelines/mine/dvc.yaml").read_text())["stages"]
    assert str(folder / "shine.py") in graph["polish"]["deps"]
    assert (repository.root / "artifacts/mine/polish-2/model/model.safetensors").exists()
    (folder / "shine.py").write_text(STAGE + "\n# another\n")
    output = repository.dvc("repro", "pipelines/mine/dvc.yaml:polish")
    assert "Running stage 'pipelines/mine/dvc.yaml:polish'" in output and "dvc.yaml:pretrain'" not in [
        line for line in output.splitlines() if line.startswith("Running")
    ]
    plan = repository.flow("--pipeline", str(folder), "--plan", "--set", "polish.max_steps=2")
    assert "A new copy of the repository" in plan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('base="pretrain/model"', 'base="pretrian/model"'), "polish: pretrian/model: no node before it is called"),
        (('node("polish",', 'node("polish", stage="polsh",'), "node polish: no stage 'polsh'"),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_said_before_anything_starts(repository, change, words):
    path = repository.root / "pipelines/twice/pipeline.py"
    path.write_text(PIPELINE.replace(*change))
    try:
        said = repository.flow("--pipeline", "twice", check=False)
    finally:
        path.write_text(PIPELINE)
    assert words in said and "Traceback" not in said


def test_a_pipeline_that_is_not_there_is_a_sentence_that_lists_those_that_are(repository):
    said = repository.flow("--pipeline", "thrice", check=False)
    assert "no pipeline 'thrice'" in said and "there are default, twice" in said and "Traceback" not in said
