"""MLflow remembers: runs, parameters, metrics, data versions and registered models. The only import of mlflow.

Tracking trouble never stops a training run and never goes unsaid: the first failure is logged, figures that could
not be sent are kept in a file that the log names, and the stage's record says that tracking is incomplete.
"""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.types.schema import ParamSchema, ParamSpec

from components.data.digests import recorded_md5
from components.lineage import (
    POINTER,
    STAGES,
    StageRecord,
    flatten,
    is_alive,
    numbers,
    process_session,
    read_metrics,
    version_tags,
)
from components.metric_buffer import MetricBuffer

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

EXPERIMENT = "gptlineage"
PARENT_VARIABLE = "GPTLINEAGE_PARENT_RUN"
ROOT_VARIABLE = "GPTLINEAGE_ROOT"
RETRY_SECONDS = 60.0
VALUE_LIMIT = 5000  # characters of a parameter that MLflow accepts, with room to spare
BATCH_LIMIT = 100  # parameters of one request
METRICS_LIMIT = 1000  # metrics of one request
SERVING_REQUIREMENTS = ("torch==2.13.0", "safetensors==0.8.0", "tokenizers==0.23.3", "numpy>=2,<3", "mlflow==3.17.2")
SAMPLING_PARAMS = ParamSchema(
    [
        ParamSpec("max_new_tokens", "long", 40),
        ParamSpec("temperature", "double", 1.0),
        ParamSpec("top_k", "long", 0),
        ParamSpec("top_p", "double", 1.0),
        ParamSpec("seed", "long", 0),
    ]
)


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the store below the repository's root."""
    root = Path(os.environ.get(ROOT_VARIABLE, ".")).resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlruns/mlflow.db"


def connect() -> tuple[MlflowClient, str]:
    """A client and the id of the lineage experiment, made where it is missing."""
    # A server that is down must cost seconds, not MLflow's default of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    uri = tracking_uri()
    location = None
    if uri.startswith("sqlite:///"):
        store = Path(uri.removeprefix("sqlite:///")).parent
        store.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(store / "mlflow.db") as database:
            database.execute("PRAGMA journal_mode=WAL")  # readers (the UI) do not block the writer
        location = (store.resolve() / "artifacts").as_uri()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)
    return client, experiment.experiment_id


class StageTracker:
    """The tracked run of one stage: a child of its lineage's run, continued when the stage is resumed."""

    def __init__(self, stage: str, tree: Mapping[str, Any], *, state: Path, artifacts: Path) -> None:
        self.stage, self.tree, self.artifacts = stage, tree, artifacts
        self.state_file = state / "tracking.json"
        self.unsent_file = state.parent.parent / "unsent" / f"{state.name}.jsonl"
        self.run_id: str | None = None
        self.parent_id: str | None = None
        self.version: str | None = None
        self.trouble: str | None = None
        self._retry_at = 0.0
        self._buffer = MetricBuffer()

    def __enter__(self) -> "StageTracker":
        self._guard("start the run", lambda: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        status = "FINISHED" if kind is None else "KILLED" if stopped else "FAILED"
        self._retry_at = 0.0
        self._flush()
        self._buffer.keep_unsent(self.unsent_file)
        if self.run_id is not None:
            self._guard("finish the run", lambda: self._finish(status))

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Buffer figures of a step; they are sent in batches, so that logging costs a step almost nothing."""
        if self._buffer.add(values, step):
            self._flush()

    def log_summary(self, metrics: Mapping[str, Any]) -> None:
        """Log a stage's final figures on its run and, so that lineages compare, on the parent."""
        final = numbers(metrics, prefix=self.stage)
        self.log_metrics(final)
        self._guard("log the summary on the parent run", lambda: self._to_parent(final))

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Log a table of samples as an artifact of this step."""
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        self._guard(
            f"log the table {name}",
            lambda: self._client.log_table(self._run(), columns, f"samples/{name}-{step:06d}.json"),
        )

    def log_file(self, path: Path, folder: str = "") -> None:
        """Attach a file or folder to the run."""
        log = (
            (lambda: self._client.log_artifacts(self._run(), str(path), folder))
            if path.is_dir()
            else (lambda: self._client.log_artifact(self._run(), str(path), folder))
        )
        self._guard(f"attach {path}", log)

    def register_model(self, folder: Path) -> None:
        """Register a stage's model as a new version of `gpt-<stage>`, alias `candidate`."""
        self._guard("register the model", lambda: self._register(folder))

    def promote(self, stage: str, version: str, failures: Sequence[str]) -> None:
        """Move `champion` to a version whose gate passed; in any case tag the version with the verdict."""

        def act() -> None:
            name = f"gpt-{stage}"
            self._client.set_model_version_tag(name, version, "gate", "; ".join(failures) or "passed")
            if not failures:
                self._client.set_registered_model_alias(name, "champion", version)

        self._guard(f"promote gpt-{stage}", act)

    def record(self, duration_seconds: float, peak_memory_gib: float) -> dict[str, Any]:
        """The content of the stage's `run.json` (see `components.lineage.StageRecord`)."""
        return {
            "stage": self.stage,
            "run_id": self.run_id,
            "model_name": f"gpt-{self.stage}" if self.version else None,
            "model_version": self.version,
            "tracking": f"incomplete: {self.trouble}" if self.trouble else "complete",
            "duration_seconds": round(duration_seconds, 2),
            "peak_memory_gib": round(peak_memory_gib, 3),
        }

    def _start(self) -> None:
        self._client, experiment = connect()
        saved = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        if saved:
            self.run_id, self.parent_id = saved["run_id"], saved["parent_id"]
            self._client.update_run(self.run_id, status="RUNNING")
            for key in self._client.get_run(self._run()).data.metrics:
                steps = [point.step for point in self._client.get_metric_history(self._run(), key)]
                self._buffer.known_steps[key] = max(steps)
            return
        self.parent_id = os.environ.get(PARENT_VARIABLE) or self._session_parent(experiment)
        tags = {"mlflow.parentRunId": self.parent_id, "stage": self.stage, "kind": "stage"}
        run = self._client.create_run(experiment, run_name=self.stage, tags=tags | version_tags(self.stage))
        self.run_id = run.info.run_id
        self.state_file.write_text(json.dumps({"run_id": self.run_id, "parent_id": self.parent_id}))
        _log_inputs(self._client, self.run_id, self.tree)

    def _session_parent(self, experiment: str) -> str:
        """The parent run of this `dvc` command, made by its first stage, which links what DVC skipped before it."""
        session = process_session()
        found = self._client.search_runs([experiment], f"tags.session = '{session}'", max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        tags = {"session": session, "door": "dvc"}
        parent_id = create_parent(self._client, experiment, self.tree, "dvc repro", tags)
        for skipped in STAGES[: STAGES.index(self.stage)]:
            if StageRecord.load(skipped, self.artifacts) is not None:
                link_skipped(self._client, experiment, parent_id, skipped, "cached", self.artifacts)
        return parent_id

    def _finish(self, status: str) -> None:
        self._client.set_terminated(self._run(), status)
        if self.parent_id is not None:
            _link(self._client, self.parent_id, self.stage, self._run(), "ran")
            if PARENT_VARIABLE not in os.environ:  # the `dvc repro` door: whichever stage is last closes the lineage
                self._client.set_terminated(self.parent_id, status)

    def _register(self, folder: Path) -> None:
        signature = ModelSignature(params=SAMPLING_PARAMS)
        with mlflow.start_run(run_id=self._run()):
            info = mlflow.pyfunc.log_model(
                name=self.stage,
                loader_module="components.serving",
                data_path=str(folder),
                code_paths=["components"],
                pip_requirements=list(SERVING_REQUIREMENTS),
                registered_model_name=f"gpt-{self.stage}",
                signature=signature,
            )
        self._client.update_run(self._run(), status="RUNNING")
        self.version = str(info.registered_model_version)
        name = f"gpt-{self.stage}"
        for key, value in (version_tags(self.stage) | {"run_id": self._run()}).items():
            self._client.set_model_version_tag(name, self.version, key, value)
        self._client.set_registered_model_alias(name, "candidate", self.version)
        logger.info("registered models:/%s/%s (alias candidate)", name, self.version)

    def _run(self) -> str:
        if self.run_id is None:
            raise RuntimeError("the run was never started")
        return self.run_id

    def _to_parent(self, metrics: Mapping[str, float]) -> None:
        if self.parent_id is not None:
            _log_now(self._client, self.parent_id, metrics)

    def _flush(self) -> None:
        self._buffer.flushed_at = time.monotonic()
        while self._buffer.points:
            if self._guard("send metrics", self._send) is None:
                return

    def _send(self) -> int:
        batch = self._buffer.points[:METRICS_LIMIT]
        self._client.log_batch(self._run(), metrics=[Metric(*point) for point in batch])
        del self._buffer.points[: len(batch)]
        return len(batch)

    def _guard(self, what: str, action: Callable[[], Result]) -> Result | None:
        """Run an MLflow call; on failure say so once, remember it, and pause tracking instead of training."""
        if time.monotonic() < self._retry_at:
            return None
        try:
            if self.run_id is None:
                self._start()
            return action()
        except Exception as error:  # MLflow raises its own, sqlite's, requests' and OS errors; none may stop training
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if self.trouble is None:
                logger.warning("tracking: could not %s: %s; training goes on", what, error)
                self.trouble = f"could not {what}: {str(error).splitlines()[0][:200]}"
            return None


class SilentTracker(StageTracker):
    """Tracks nothing: for the helper processes of data-parallel training, whose figures the first process logs."""

    def __enter__(self) -> "SilentTracker":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        return

    def _guard(self, what: str, action: Callable[[], Result]) -> Result | None:
        return None


def create_parent(
    client: MlflowClient, experiment: str, tree: Mapping[str, Any], name: str, tags: Mapping[str, str]
) -> str:
    """Start the run of a lineage, with its parameters and data version; its run id."""
    run = client.create_run(experiment, run_name=name, tags={"kind": "lineage", **version_tags("lineage"), **tags})
    _log_inputs(client, run.info.run_id, tree)
    return str(run.info.run_id)


def link_skipped(
    client: MlflowClient, experiment: str, parent_id: str, stage: str, state: str, artifacts: Path
) -> None:
    """Show a stage that DVC did not run: its figures, and a child that points to the run that made them."""
    record = StageRecord.load(stage, artifacts)
    figures = read_metrics(stage, artifacts)
    source = (record.run_id if record else None) or "untracked"
    _log_now(client, parent_id, figures)
    _link(client, parent_id, stage, source, state)
    tags = {
        "mlflow.parentRunId": parent_id,
        "stage": stage,
        "kind": state,
        "source_run_id": source,
        "mlflow.note.content": f"{state} by DVC. Made by [run {source}](#/experiments/{experiment}/runs/{source}).",
    }
    child = client.create_run(experiment, run_name=f"{stage} ({state})", tags=tags)
    _log_now(client, child.info.run_id, figures)
    client.set_terminated(child.info.run_id)


def download_model(uri: str) -> Path | None:
    """Local folder of a registered model's files, by its address, such as `models:/gpt-ppo@champion`; None if none."""
    connect()
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    except mlflow.MlflowException as error:
        logger.info("%s: %s", uri, error)
        return None
    return next(path for path in (folder / "data").iterdir() if path.is_dir())


def reconcile() -> list[str]:
    """Mark as KILLED the lineages whose process is gone, and their stages; the Prefect flow runs they belonged to."""
    client, experiment = connect()
    dead = []
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING' and tags.kind = 'lineage'"):
        if is_alive(run.data.tags.get("session", "")):
            continue
        children = client.search_runs(
            [experiment], f"attributes.status = 'RUNNING' and tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        )
        for lost in [*children, run]:
            client.set_terminated(lost.info.run_id, "KILLED")
        dead.append(run.data.tags.get("prefect.flow_run", ""))
    return [flow_run for flow_run in dead if flow_run]


def _log_inputs(client: MlflowClient, run_id: str, tree: Mapping[str, Any]) -> None:
    """Resolved parameters, flat and as a file, and the version of the data."""
    resolved = {key: value for key, value in tree.items() if key != "presets"}
    params = [Param(key, str(value)[:VALUE_LIMIT]) for key, value in flatten(resolved, separator=".")]
    for start in range(0, len(params), BATCH_LIMIT):
        client.log_batch(run_id, params=params[start : start + BATCH_LIMIT])
    client.log_text(run_id, yaml.safe_dump(resolved, sort_keys=False), "params.yaml")
    digest = recorded_md5(POINTER)
    if digest is not None:
        source = json.dumps({"uri": str(POINTER)})
        dataset = Dataset(name="data", digest=digest, source_type="local", source=source)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_now(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()])


def _link(client: MlflowClient, parent_id: str, stage: str, run_id: str, state: str) -> None:
    tags = [RunTag(f"stage.{stage}.run_id", run_id), RunTag(f"stage.{stage}.state", state)]
    client.log_batch(parent_id, tags=tags)
