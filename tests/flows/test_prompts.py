"""The pipeline of prompts on a tiny model: killed and resumed to the same bytes, both doors, its prompts kept."""

import json
import os
import shutil
import signal
import time

import pytest

from tests.components.test_item_tasks import folder
from tests.contracts.imports import ROOT
from tests.flows.repository import edited, make_repository
from tests.flows.watching import outcomes

pytestmark = pytest.mark.slow

NODES = ("ingest", "adopt", "questions", "prompting")
OUT = "artifacts/prompts/prompting"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("prompts")
    repository = make_repository(root / "home")
    shutil.copytree(ROOT / "pipelines/prompts", repository.root / "pipelines/prompts")
    params = repository.root / "pipelines/prompts/params.yaml"
    origin = {"kind": "path", "path": str(folder(root, context_length=256))}
    changes = {"adopt.origin": origin, "adopt.template": "lineage", "questions.asked": 3, "questions.examples": 30}
    changes |= {
        "limits.context_length": 128,
        "limits.max_prompt_tokens": 64,
        "compute.accelerator": "cpu",
        "compute.precision": "32-true",
    }
    changes |= {"presets": {"default": {}}, "limits.max_demonstration_tokens": 64}
    params.write_text(edited(params.read_text(), changes))
    return repository


def test_it_is_killed_and_goes_on_and_after_it_neither_door_has_anything_to_do(repository):
    process = repository.start("python", "-m", "flows.lineage", "--pipeline", "prompts")
    state, deadline = repository.root / ".lineage/state", time.monotonic() + 300
    while len(list(state.glob("prompting-*/cells/**/*.json"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    repository.flow("--pipeline", "prompts")
    answers = (repository.root / OUT / "answers.jsonl").read_bytes()
    assert outcomes(repository.flow("--pipeline", "prompts")) == dict.fromkeys(NODES, "Cached")
    assert "Running stage" not in repository.dvc("repro", "pipelines/prompts/dvc.yaml")
    repository.flow("--pipeline", "prompts", "--force", "prompting")
    assert (repository.root / OUT / "answers.jsonl").read_bytes() == answers


def test_every_technique_has_figures_and_every_template_a_version(repository):
    figures = json.loads((repository.root / OUT / "metrics.json").read_text())
    names = set(figures["adopt"]["sums"])
    assert names == set(figures["adopt"]["feelings"]) and len(names) == 9
    client = repository.client()
    for name, digest in figures["templates"].items():
        (version,) = client.search_prompt_versions(f"prompts-{name}")  # forced again, it is the same one
        assert version.tags["digest"] == digest


def test_a_template_that_changes_is_a_new_version_and_asks_anew(repository):
    path = repository.root / "pipelines/prompts/templates/ask.txt"
    path.write_text("Please: {{ question }}\n")
    again = outcomes(repository.flow("--pipeline", "prompts"))
    assert again == dict.fromkeys(NODES[:-1], "Cached") | {"prompting": "Completed"}
    assert len(list(repository.client().search_prompt_versions("prompts-ask"))) == 2
    path.write_text("Please: {{ query }}\n")
    process = repository.start("python", "-m", "flows.lineage", "--pipeline", "prompts")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "zero-shot: ask: no value for query; question stands nowhere in it" in output
