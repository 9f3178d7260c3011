"""Stages that register models in a store of their own, as real ones do, without training."""

import json
import shutil

from components import mlflow_store
from components import params as parameters
from components.lineage import process_identity
from components.mlflow_store import connect
from components.pipelines import open_pipeline
from components.tracking import StageTracker
from flows.parent_run import Lineage
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline(root=ROOT)
TREE = {
    "evaluate": parameters.read_tree(ROOT / "params.yaml")["evaluate"],
    "seed": 1,
    "compute": {"precision": "32-true"},
    "gates": {"sft": [{"metric": "sft.ended_share", "minimum": 0.8}]},
}


def tracker(folder, stage="sft"):
    state = folder / f".lineage/state/{stage}-1"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    return StageTracker(stage, PIPELINE, TREE, state=state, artifacts=folder / "artifacts")


def register(folder, monkeypatch, stage="sft", weights=b"weights"):
    """Run a stage that registers a model whose files are a text; its record is written as a stage does."""
    model = folder / "artifacts" / stage / "model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(weights)

    def log_model(run_id, node, name, folder, *, talks):
        client, _ = connect()
        if not client.search_registered_models(f"name = 'gpt-{stage}'"):
            client.create_registered_model(f"gpt-{stage}")
        client.log_artifacts(run_id, str(folder), "model/data/model")
        source = client.get_run(run_id).info.artifact_uri + "/model"
        return str(client.create_model_version(f"gpt-{stage}", source=source, run_id=run_id).version)

    monkeypatch.setattr(mlflow_store, "log_model", log_model)
    with tracker(folder, stage) as run:
        run.register_model(model)
    write_record(folder, run)
    return run


def write_record(folder, run):
    path = folder / "artifacts" / run.stage / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run.record(1.0, 0.5)))


def judge(folder, failures):
    with tracker(folder, "evaluate") as run:
        record = json.loads((folder / "artifacts/sft/run.json").read_text())
        run.promote("sft", record["model_version"], failures)
    write_record(folder, run)


def pointed(alias, name="gpt-sft"):
    return mlflow_store.aliased(connect()[0], name, alias)


def lineage(root):
    return Lineage(
        TREE,
        PIPELINE,
        name="default",
        command="python -m flows.lineage",
        tags={"session": process_identity()},
        root=root,
    )
