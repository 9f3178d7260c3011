"""The store follows its repository, and aliases point at what lies in it: real MLflow on SQLite, real folders."""

import http.server
import json
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

from components import mlflow_store, provenance
from components import params as parameters
from components.lineage import alias_of, home, process_identity
from components.lineage_run import point_aliases
from components.mlflow_store import StoreError, connect
from components.pages import version_page
from components.pipelines import open_pipeline
from components.tracking import StageTracker
from flows import parent_run
from flows.parent_run import Lineage
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline(root=ROOT)
TREE = {
    "evaluate": parameters.read_tree(ROOT / "params.yaml")["evaluate"],
    "seed": 1,
    "compute": {"precision": "32-true"},
    "gates": {"sft": [{"metric": "sft.ended_share", "minimum": 0.8}]},
}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "GPTLINEAGE_ROOT", "GPTLINEAGE_PARENT_RUN", "DVC_EXP_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(parent_run, "_silent_until", float("-inf"))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Go to a folder, as if a stage ran there; the repository unless another root is named."""

    def go(folder, root=None):
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for the process's children
        if root is not None:
            monkeypatch.setenv("GPTLINEAGE_ROOT", str(root))
        else:
            monkeypatch.delenv("GPTLINEAGE_ROOT", raising=False)
        return folder

    return go


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


# Places


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


# Aliases


def test_a_variant_has_an_alias_of_its_own_and_moves_neither_candidate_nor_champion(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    variant = work(tmp_path / ".lineage/variants/smoke-1a2b", root=tmp_path)
    register(variant, monkeypatch)
    judge(variant, [])
    assert (pointed("candidate"), pointed("candidate-smoke-1a2b"), pointed("champion")) == ("1", "2", None)


def test_a_variant_that_ends_early_gives_its_alias_to_no_model_it_has_not_reached(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    variant = work(tmp_path / ".lineage/variants/early", root=tmp_path)
    shutil.copytree(tmp_path / "artifacts", variant / "artifacts")  # what DVC restores there is the repository's
    with lineage(variant) as parent:
        parent.link("prepare", "cached")
    assert pointed("candidate-early") is None
    with lineage(variant) as parent:
        parent.link("sft", "cached")
    assert pointed("candidate-early") == "1"


def test_an_experiment_of_dvc_moves_neither_candidate_nor_champion(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    monkeypatch.setenv("DVC_EXP_NAME", "odd name")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    assert (pointed("candidate"), pointed("candidate-odd-name"), pointed("champion")) == ("1", "2", None)


def test_champion_moves_only_through_an_open_gate(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    register(tmp_path, monkeypatch)
    judge(tmp_path, ["ended_share 0.2 is below 0.8"])
    assert (pointed("candidate"), pointed("champion")) == ("2", "1")
    tags = connect()[0].get_model_version("gpt-sft", "2").tags
    assert tags["gate"] == "ended_share 0.2 is below 0.8"
    assert tags["gate.bounds"] == "sft.ended_share at least 0.8"


def test_a_variant_does_not_judge_anew_what_it_shares_with_the_repository(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    judge(tmp_path, [])
    variant = work(tmp_path / ".lineage/variants/x", root=tmp_path)
    shutil.copytree(tmp_path / "artifacts", variant / "artifacts")
    judge(variant, ["too short"])
    assert connect()[0].get_model_version("gpt-sft", "1").tags["gate"] == "passed"


def test_a_version_number_of_another_store_promotes_nothing(tmp_path, work, monkeypatch, caplog):
    register(work(tmp_path / "mine"), monkeypatch)
    register(work(tmp_path / "theirs"), monkeypatch)
    shutil.copytree(tmp_path / "theirs/artifacts", tmp_path / "mine/artifacts", dirs_exist_ok=True)
    work(tmp_path / "mine")
    judge(tmp_path / "mine", [])
    assert pointed("champion") is None
    assert "nothing is promoted" in caplog.text


def lineage(root):
    return Lineage(
        TREE,
        PIPELINE,
        name="default",
        command="python -m flows.lineage",
        tags={"session": process_identity()},
        root=root,
    )


def test_a_restored_state_brings_its_aliases_back(tmp_path, work, monkeypatch):
    work(tmp_path)
    for _ in range(2):
        register(tmp_path, monkeypatch)
        judge(tmp_path, [])
        shutil.copytree(tmp_path / "artifacts", tmp_path / f"saved-{pointed('candidate')}")
    assert (pointed("candidate"), pointed("champion")) == ("2", "2")
    shutil.rmtree(tmp_path / "artifacts")
    shutil.copytree(tmp_path / "saved-1", tmp_path / "artifacts")  # as `dvc checkout` does
    with lineage(tmp_path) as parent:
        for stage in ("sft", "evaluate"):
            parent.link(stage, "cached")
    assert (pointed("candidate"), pointed("champion")) == ("1", "1")


def test_a_flow_with_nothing_to_do_leaves_a_champion_that_somebody_chose(tmp_path, work, monkeypatch):
    work(tmp_path)
    for _ in range(2):
        register(tmp_path, monkeypatch)
        judge(tmp_path, [])
    client, _ = connect()
    client.set_registered_model_alias("gpt-sft", "champion", "1")
    with lineage(tmp_path) as parent:
        for stage in ("sft", "evaluate"):
            parent.link(stage, "cached")
    assert (pointed("candidate"), pointed("champion")) == ("2", "1")


def test_a_verdict_on_another_model_does_not_count(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    shutil.copytree(tmp_path / "artifacts", tmp_path / "first")
    judge(tmp_path, ["too short"])
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    shutil.copy(tmp_path / "first/sft/run.json", tmp_path / "artifacts/sft/run.json")  # restored; evaluate runs next
    point_aliases(connect()[0], tmp_path / "artifacts", "candidate", PIPELINE, judged_again=False)
    assert (pointed("candidate"), pointed("champion")) == ("1", "2")


# What a person sees


def test_a_flow_in_which_nothing_ran_adds_no_lineage(tmp_path, work):
    work(tmp_path)
    with lineage(tmp_path) as parent:
        parent.link("sft", "cached")
    with lineage(tmp_path) as parent:
        parent.start()  # DVC had called it stale, and found its outputs unchanged
        parent.link("sft", "cached")
    client, experiment = connect()
    assert not client.search_runs([experiment])


def test_the_lineage_shows_headlines_verdicts_and_what_was_asked_for(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    figures = {
        "precision": "bf16-mixed",
        "pretrain": {"bits_per_byte": 1.5},
        "ppo": {"gold_win_rate": 0.8, "kl": 3.0, "gold_score": 2.0},
    }
    with lineage(tmp_path) as parent:
        monkeypatch.setenv("GPTLINEAGE_PARENT_RUN", parent.start())
        judge(tmp_path, ["ended_share 0.2 is below 0.8"])
        (tmp_path / "artifacts/evaluate/metrics.json").write_text(json.dumps(figures))
        (tmp_path / "artifacts/evaluate/report.html").write_text("report")
        parent.link("sft", "cached")
    client, experiment = connect()
    run = client.get_run(parent.run_id)
    assert run.info.run_name == "default"
    assert run.data.metrics == {
        "pretrain/bits_per_byte": 1.5, "ppo/gold_win_rate": 0.8, "ppo/kl": 3.0, "gate/sft": 0.0,
    }  # fmt: skip
    assert run.data.tags["precision"] == "bf16-mixed"
    assert run.data.tags["gate.sft"] == "ended_share 0.2 is below 0.8"
    assert run.data.tags["gates"] == "closed: sft"
    assert run.data.tags["mlflow.source.name"] == "python -m flows.lineage"
    page = run.data.tags["mlflow.note.content"]
    for words in ("| pretrain, bits per byte of plain text | 1.5 |", "python -m flows.lineage", "models:/gpt-sft/1"):
        assert words in page
    assert "report.html" in {item.path for item in client.list_artifacts(parent.run_id)}
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    columns = json.loads(json.loads(tags["mlflow.sharedViewState.headlines"])["state"])["selectedColumns"]
    assert {"metrics.`pretrain/bits_per_byte`", "metrics.`ppo/gold_win_rate`", "tags.`gates`"} <= set(columns)


def test_a_version_tells_what_it_was_made_of(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    version = connect()[0].get_model_version("gpt-sft", "1")
    # sha256 of b"weights", from sha256sum
    assert version.tags["weights.sha256"] == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    for words in (version.tags["weights.sha256"], "passed", "32-true", "torch==", "sft.ended_share at least 0.8"):
        assert words in version.description
    assert version.description == version_page("gpt-sft", "1", version.tags)


@pytest.mark.parametrize(
    ("preset", "overrides", "name"),
    [
        ("default", {}, "default"),
        ("smoke", {}, "smoke"),
        ("default", {"ppo.kl_coef": 0.2, "seed": 7}, "ppo.kl_coef=0.2 · seed 7"),
        ("smoke", {"a.b": 1, "a.c": 2, "a.d": 3, "a.e": 4}, "smoke · a.b=1 · a.c=2 · a.d=3 · and 1 more"),
    ],
)
def test_a_lineage_is_named_by_what_was_asked_for(tmp_path, work, preset, overrides, name):
    work(tmp_path)
    assert provenance.name_of(preset, overrides, TREE, PIPELINE) == name


def test_equal_parameters_are_spelled_alike_whatever_their_order():
    one = {"a": {"x": 1, "y": [{"metric": "m", "minimum": 1.0}]}, "presets": {"p": {}}}
    two = {"a": {"y": [{"minimum": 1, "metric": "m"}], "x": 1.0}}
    assert provenance.resolved(one) == provenance.resolved(two) == {"a.x": "1", "a.y": "[{metric: m, minimum: 1}]"}


# Trouble


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
def trouble(request, monkeypatch):
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
