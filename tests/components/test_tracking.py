"""Tracking through a real MLflow on SQLite, and without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from components import mlflow_store
from components.lineage import process_identity
from components.lineage_run import reconcile
from components.mlflow_store import connect
from components.pipelines import open_pipeline
from components.tracking import StageTracker
from flows.parent_run import Lineage
from tests.contracts.imports import ROOT


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty repository with its own store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GPTLINEAGE_ROOT", str(tmp_path))
    monkeypatch.delenv("GPTLINEAGE_PARENT_RUN", raising=False)
    (tmp_path / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": "0" * 32 + ".dir", "path": "data"}]}))
    return tmp_path


PIPELINE = open_pipeline(root=ROOT)
TREE = {"seed": 1, "sft": {"max_steps": 2, "note": "x" * 9000}, "presets": {"a": {}}}


def tracker(root, stage="sft"):
    state = root / ".lineage/state/sft-1"
    state.mkdir(parents=True, exist_ok=True)
    return StageTracker(stage, PIPELINE, TREE, state=state, artifacts=root / "artifacts")


def lineage(root, name="default"):
    return Lineage(
        TREE, PIPELINE, name=name, command="python -m flows.lineage", tags={"session": process_identity()}, root=root
    )


def test_a_stage_is_a_finished_child_with_parameters_data_version_and_metrics(store):
    with tracker(store) as run:
        run.log_metrics({"sft/train/loss": 2.0}, step=1)
        run.log_metrics({"sft/train/loss": 1.0}, step=2)
        run.log_summary({"validation": {"loss": 0.5}, "rows": 3, "dropped": {"alike": 1}})
    client = MlflowClient()
    logged = client.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert [p.value for p in client.get_metric_history(run.run_id, "sft/train/loss")] == [2.0, 1.0]
    assert logged.data.metrics["sft/validation/loss"] == 0.5
    # A page of charts opens on its first group: curves, not counts.
    assert min(logged.data.metrics) == "sft/train/loss"
    assert {"total/rows", "total/dropped/alike"} <= logged.data.metrics.keys()
    assert logged.data.params["sft.max_steps"] == "2"
    assert len(logged.data.params["sft.note"]) == 5000
    assert not [key for key in logged.data.params if key.startswith("presets")]
    assert logged.inputs.dataset_inputs[0].dataset.digest == "0" * 32 + ".dir"
    parent = client.get_run(logged.data.tags["mlflow.parentRunId"])
    assert parent.data.metrics == {}  # the stage's own run has them; the lineage's the dozen that it is known by
    assert parent.data.tags["stage.sft.run_id"] == run.run_id
    full = client.download_artifacts(run.run_id, "params.yaml")
    assert yaml.safe_load(Path(full).read_text())["sft"]["note"] == "x" * 9000
    assert run.record(1, 1)["tracking"] == "complete"


def test_stages_of_one_command_share_a_parent(store):
    with tracker(store) as first:
        pass
    first.state_file.unlink()
    with tracker(store) as second:
        pass
    assert first.run_id != second.run_id
    assert first.parent_id == second.parent_id


def test_a_resumed_stage_continues_its_run_and_repeats_no_step(store):
    with pytest.raises(KeyboardInterrupt), tracker(store) as run:
        for step in (1, 2, 3):
            run.log_metrics({"sft/train/loss": float(step)}, step=step)
        raise KeyboardInterrupt
    client = MlflowClient()
    assert client.get_run(run.run_id).info.status == "KILLED"
    with tracker(store) as again:
        for step in (2, 3, 4):  # from the checkpoint of step 1
            again.log_metrics({"sft/train/loss": float(step)}, step=step)
    assert again.run_id == run.run_id
    assert [p.step for p in client.get_metric_history(run.run_id, "sft/train/loss")] == [1, 2, 3, 4]
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_server_that_is_down_costs_nothing_but_is_said(store, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with tracker(store) as run:
        run.log_metrics({"sft/train/loss": 1.5}, step=1)
        run.log_table("samples", [{"a": 1}], step=1)
        run.register_model(store)
    assert "training goes on" in caplog.text
    assert str(run.unsent_file) in caplog.text
    (point,) = [json.loads(line) for line in run.unsent_file.read_text().splitlines()]
    assert (point["key"], point["value"], point["step"]) == ("sft/train/loss", 1.5, 1)
    record = run.record(1, 1)
    assert record["run_id"] is None and record["tracking"].startswith("incomplete: could not start the run")


def test_trouble_in_the_middle_keeps_what_was_not_sent(store, monkeypatch):
    with tracker(store) as run:
        monkeypatch.setattr(run._client, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
        run.log_metrics({"sft/train/loss": 1.5}, step=1)
        run.flush()
    assert len(run.unsent_file.read_text().splitlines()) == 1
    assert "disk full" in run.record(1, 1)["tracking"]


def test_a_failing_stage_is_failed_and_its_error_is_not_hidden(store):
    with pytest.raises(FloatingPointError), tracker(store) as run:
        raise FloatingPointError
    assert MlflowClient().get_run(run.run_id).info.status == "FAILED"


def test_skipped_stages_appear_in_the_lineage_linked_to_the_run_that_made_them(store):
    with tracker(store) as made:
        pass
    folder = store / "artifacts/sft"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(made.record(1.0, 0.5)))
    (folder / "metrics.json").write_text(json.dumps({"validation": {"loss": 0.25}}))
    with lineage(store) as parent:
        parent.start()
        parent.link("sft", "restored")
    client, experiment = connect()
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert child.info.run_name == "sft (restored)"
    assert child.data.tags["source_run_id"] == made.run_id
    assert child.data.metrics == {"sft/validation/loss": 0.25}
    shown = client.get_run(parent.run_id)
    assert shown.data.tags["stage.sft.state"] == "restored"
    assert shown.info.status == "FINISHED"


def test_lineages_whose_process_is_gone_are_reconciled_and_living_ones_are_not(store):
    client, experiment = connect()

    def running(session):
        tags = {"kind": "lineage", "session": session, "prefect.flow_run": f"flow-{session}"}
        return client.create_run(experiment, tags=tags).info.run_id

    dead, alive = running("999999999:1.00"), running(process_identity())
    child = client.create_run(experiment, tags={"mlflow.parentRunId": dead}).info.run_id
    assert reconcile() == ["flow-999999999:1.00"]
    statuses = [client.get_run(run).info.status for run in (dead, child, alive)]
    assert statuses == ["KILLED", "KILLED", "RUNNING"]


def ended():
    """The identity of a process that has ended."""
    command = "from components.lineage import process_identity; print(process_identity())"
    return subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_stage_that_outlived_its_closed_lineage_is_reconciled(store):
    client, experiment = connect()

    def stage_of(**tags):
        parent = client.create_run(experiment, tags=tags).info.run_id
        client.set_terminated(parent, "KILLED")
        return client.create_run(experiment, tags={"kind": "stage", "mlflow.parentRunId": parent}).info.run_id

    lost, kept = (stage_of(kind="lineage", session=each) for each in (ended(), process_identity()))
    foreign = stage_of()  # no lineage of ours
    orphan = client.create_run(experiment, tags={"kind": "stage", "mlflow.parentRunId": "0" * 32}).info.run_id  # purged
    assert reconcile() == []
    statuses = [client.get_run(run).info.status for run in (lost, kept, foreign, orphan)]
    assert statuses == ["KILLED", "RUNNING", "RUNNING", "RUNNING"]


def test_a_resumed_stage_is_never_seen_running_below_a_lineage_that_is_gone(store, monkeypatch):
    """Whoever clears up between any two calls of a resuming stage leaves it alone."""
    with pytest.raises(FloatingPointError), tracker(store) as first:
        raise FloatingPointError
    client, _ = connect()
    client.set_tag(first.parent_id, "session", ended())
    with lineage(store) as parent:
        parent.start()
        monkeypatch.setenv("GPTLINEAGE_PARENT_RUN", parent.run_id)
        update, seen = MlflowClient.update_run, []

        def watched(self, run_id, **changes):
            update(self, run_id, **changes)
            reconcile()
            seen.append(client.get_run(run_id).info.status)

        monkeypatch.setattr(MlflowClient, "update_run", watched)
        with tracker(store) as again:
            pass
    assert again.run_id == first.run_id and seen == ["RUNNING"]


def test_a_stage_that_is_stopped_while_its_run_is_made_closes_it(store, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_store, "log_inputs", stopped)  # after the run of the stage was made
    with lineage(store) as parent:
        parent.start()
        monkeypatch.setenv("GPTLINEAGE_PARENT_RUN", parent.run_id)
        with pytest.raises(KeyboardInterrupt), tracker(store):
            pytest.fail("the stage began")
    client, experiment = connect()
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert child.info.status == "KILLED"


def test_store_lies_below_mlruns(store):
    connect()
    assert (store / "mlruns/mlflow.db").exists()
    assert mlflow_store.tracking_uri().endswith("/mlruns/mlflow.db")
    assert {path.name for path in store.iterdir()} == {"mlruns", "data.dvc"}
