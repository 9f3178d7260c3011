"""The store follows its repository, and one that does not answer ends nothing: real MLflow on SQLite, real folders."""

import http.server
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components import mlflow_store
from components.lineage import alias_of, home
from components.mlflow_store import StoreError, connect
from flows import parent_run
from tests.components.stores import lineage, register, tracker
from tests.contracts.imports import ROOT


def log_text_elsewhere(run_id, name):
    """Attach a file to a run in a process of its own, as a stage does: MLflow keeps a run's location in memory."""
    code = f"from components.mlflow_store import connect; connect()[0].log_text({run_id!r}, 'text', {name!r})"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_a_moved_repository_finds_its_models_and_makes_nothing_at_the_old_place(tmp_path, work, monkeypatch):
    run = register(work(tmp_path / "old"), monkeypatch)
    work(tmp_path)
    shutil.move(tmp_path / "old", tmp_path / "new place")
    work(tmp_path / "new place")
    folder = mlflow_store.download_model("models:/gpt-sft@candidate")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    register(tmp_path / "new place", monkeypatch, weights=b"newer")
    log_text_elsewhere(run.run_id, "more.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"new place"}
    database = sqlite3.connect(tmp_path / "new place/mlruns/mlflow.db")
    text = "\n".join(database.iterdump())
    assert f"{tmp_path.as_uri()}/old/mlruns/artifacts" not in text


def test_a_copied_repository_writes_into_itself(tmp_path, work, monkeypatch):
    run = register(work(tmp_path / "one"), monkeypatch)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    work(tmp_path / "two")
    log_text_elsewhere(run.run_id, "copy.txt")
    assert list((tmp_path / "two").rglob("copy.txt"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")} == before


def test_artifacts_that_a_user_put_elsewhere_stay_there(tmp_path, work):
    work(tmp_path / "one")
    uri = mlflow_store.tracking_uri()
    (tmp_path / "one/mlruns").mkdir()
    MlflowClient(uri).create_experiment("gptlineage", artifact_location="s3://bucket/mlruns/artifacts")
    work(tmp_path)
    shutil.move(tmp_path / "one", tmp_path / "two")
    work(tmp_path / "two")
    client, experiment = connect()
    assert client.get_experiment(experiment).artifact_location == "s3://bucket/mlruns/artifacts"


@pytest.mark.parametrize("name", ["a b", "a,b", "a#b", "a%b", "ä;b"])
def test_a_path_with_odd_characters_holds_its_own_store(tmp_path, work, name):
    root = work(tmp_path / name)
    client, experiment = connect()
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "hello", "note.txt")
    assert Path(client.download_artifacts(run, "note.txt")).read_text() == "hello"
    assert (root / "mlruns/mlflow.db").stat().st_size > 0
    assert len(list((root / "mlruns/artifacts").rglob("note.txt"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert {path.name for path in root.iterdir()} == {"mlruns"}


@pytest.mark.parametrize("name", ["it's", "a?b", "a%23b"])
def test_a_path_that_mlflow_cannot_take_is_refused_before_anything_is_written(tmp_path, work, name):
    root = work(tmp_path / name)
    with pytest.raises(StoreError, match="rename"):
        connect()
    assert not list(root.iterdir())


def test_a_relative_database_is_the_repositorys_in_a_variant_too(tmp_path, work, monkeypatch):
    work(tmp_path / ".lineage/variants/smoke-1", root=tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlruns/mlflow.db")
    connect()
    assert (tmp_path / "mlruns/mlflow.db").exists()
    assert not list((tmp_path / ".lineage/variants/smoke-1").iterdir())


def test_an_experiment_of_dvc_in_a_temporary_copy_reaches_the_repositorys_store(tmp_path, work, monkeypatch):
    work(tmp_path / ".dvc/tmp/exps/tmp1")
    monkeypatch.setenv("DVC_EXP_NAME", "odd-name")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    connect()
    assert (tmp_path / "mlruns/mlflow.db").exists()
    assert home() == tmp_path
    assert alias_of() == "candidate-odd-name"


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers 401 to everything."""

    def do_GET(self):
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"no")

    do_POST = do_PATCH = do_GET

    def log_message(self, *_):
        return


@pytest.fixture(params=["dead", "refusing"])
def trouble(request, monkeypatch, untracked):
    """The address of a store that does not answer, or answers 401."""
    if request.param == "dead":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield
        return
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def test_a_store_that_is_down_or_refuses_ends_no_flow_and_is_said_once(tmp_path, monkeypatch, trouble, caplog):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert parent_run.reconcile() == []
    with lineage(tmp_path) as parent:
        assert parent.start() == ""
        with tracker(tmp_path) as run:
            run.log_metrics({"sft/train/loss": 1.0}, step=1)
        parent.link("evaluate", "cached")
    mlflow_store.log_study("pairs", tmp_path, {})
    assert time.monotonic() - started < 30
    assert caplog.text.count("the flow goes on untracked") == 1
    record = run.record(1, 1)
    assert record["run_id"] is None and record["tracking"].startswith("incomplete")
