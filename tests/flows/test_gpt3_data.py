"""GPT-3's data through both doors: a treatment killed and resumed, judged, mixed, pretrained on."""

import json
import os
import shutil
import signal
import time

import pytest
import yaml

from components.data.digests import folder_md5
from tests.contracts.imports import ROOT
from tests.flows.repository import TINY, edited, make_repository
from tests.flows.watching import outcomes

pytestmark = pytest.mark.slow

NODES = ("ingest", "planted", "treat", "audit", "prepare", "pretrain", "prepare-raw", "raw", "evaluate")


def tiny(text):
    """The pipeline's parameters with few and short texts, of which most stay."""
    tree = yaml.safe_load(text)
    sections = {key: value for key, value in TINY.items() if key.split(".")[0] in tree}
    changes = {
        "presets": {"default": {}},
        "gates": {},
        "planted.items": 6,
        "planted.passage_words": 13,
        "planted.min_words": 5,
    }
    changes |= {"planted.junk": 0.5, "planted.quoting": 0.2, "planted.copies": 0.3, "model.band": 8}
    changes |= {"pretrain.first_batch_size": 2, "pretrain.ramp_windows": 6}
    tree["treat"]["steps"][-1]["alpha"] = 0.5
    tree["treat"]["steps"][-2] |= {"margin": 5, "shortest": 10}
    return edited(yaml.safe_dump(tree, sort_keys=False), sections | changes)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = make_repository(tmp_path_factory.mktemp("gpt3-data") / "home")
    folder = repository.root / "pipelines/gpt3-data"
    shutil.copytree(ROOT / "pipelines/gpt3-data", folder)
    (folder / "params.yaml").write_text(tiny((folder / "params.yaml").read_text()))
    return repository


def test_a_treatment_is_killed_and_goes_on_and_then_neither_door_has_anything_to_do(repository):
    process = repository.start("python", "-m", "flows.lineage", "--pipeline", "gpt3-data")
    state, deadline = repository.root / ".lineage/state", time.monotonic() + 300
    while not list(state.glob("treat-*/1_exact_duplicates/kept/0*")):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    output = repository.flow("--pipeline", "gpt3-data")
    assert set(outcomes(output)) == set(NODES)
    treated = repository.root / "artifacts/gpt3-data/treat"
    made = {name: folder_md5(treated / name) for name in ("records", "items", "taken")}
    assert outcomes(repository.flow("--pipeline", "gpt3-data")) == dict.fromkeys(NODES, "Cached")
    assert "Running stage" not in repository.dvc("repro", "pipelines/gpt3-data/dvc.yaml")
    repository.flow("--pipeline", "gpt3-data", "--force", "treat", until="treat")
    assert {name: folder_md5(treated / name) for name in made} == made


def test_what_was_planted_is_found_and_corpora_are_read_by_weight(repository):
    folder = repository.root / "artifacts/gpt3-data"
    audit = json.loads((folder / "audit/metrics.json").read_text())
    assert audit["1_exact_duplicates"]["recall"] == audit["1_exact_duplicates"]["precision"] == 1.0
    index = json.loads((folder / "prepare/tokens/train.json").read_text())
    assert {shard["corpus"] for shard in index["shards"]} == {"crawl", "reference"}
    epochs = json.loads((folder / "pretrain/metrics.json").read_text())["epochs"]
    assert epochs.keys() == {"crawl", "reference"} and min(epochs.values()) > 0
    figures = json.loads((folder / "evaluate/metrics.json").read_text())
    assert {"clean", "all"} <= figures["pretrain"].keys() and figures["raw"].keys() == figures["pretrain"].keys()
