"""MLflow remembers: the run of a stage and of its lineage, their figures, and the registered models.

Tracking trouble never stops a training run and never goes unsaid: the first failure is logged, figures that could
not be sent are kept in a file that the log names, and the stage's record says that tracking is incomplete.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from components import mlflow_store as store
from components.lineage import (
    STAGES,
    StageRecord,
    is_alive,
    numbers,
    process_session,
    read_metrics,
    version_tags,
)
from components.metric_buffer import MetricBuffer

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PARENT_VARIABLE = "GPTLINEAGE_PARENT_RUN"
RETRY_SECONDS = 60.0
METRICS_LIMIT = 1000  # metrics of one request


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
        self.flush()
        self._buffer.keep_unsent(self.unsent_file)
        if self.run_id is not None:
            self._guard("finish the run", lambda: self._finish(status))

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Buffer figures of a step; they are sent in batches, so that logging costs a step almost nothing."""
        if self._buffer.add(values, step):
            self.flush()

    def log_summary(self, metrics: Mapping[str, Any]) -> None:
        """Log a stage's final figures on its run and, so that lineages compare, on the parent."""
        final = numbers(metrics, prefix=self.stage)
        # A figure with a curve has its last value there; a point at step 0 would spoil it.
        curves = self._buffer.curves | self._buffer.known_steps.keys()
        self.log_metrics({name: value for name, value in final.items() if name not in curves})
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
        self._client, experiment = store.connect()
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
        store.log_inputs(self._client, self.run_id, self.tree)

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
            store.link(self._client, self.parent_id, self.stage, self._run(), "ran")
            if PARENT_VARIABLE not in os.environ:  # the `dvc repro` door: whichever stage is last closes the lineage
                self._client.set_terminated(self.parent_id, status)

    def _register(self, folder: Path) -> None:
        version = store.log_model(self._run(), self.stage, folder)
        self._client.update_run(self._run(), status="RUNNING")
        self.version = version
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
            store.log_now(self._client, self.parent_id, metrics)

    def flush(self) -> None:
        """Send what is buffered."""
        self._buffer.flushed_at = time.monotonic()
        while self._buffer.points:
            if self._guard("send metrics", self._send) is None:
                return

    def _send(self) -> int:
        batch = self._buffer.points[:METRICS_LIMIT]
        store.log_points(self._client, self._run(), batch)
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


def create_parent(client: Any, experiment: str, tree: Mapping[str, Any], name: str, tags: Mapping[str, str]) -> str:
    """Start the run of a lineage, with its parameters and data version; its run id."""
    run = client.create_run(experiment, run_name=name, tags={"kind": "lineage", **version_tags("lineage"), **tags})
    store.log_inputs(client, run.info.run_id, tree)
    return str(run.info.run_id)


def link_skipped(client: Any, experiment: str, parent_id: str, stage: str, state: str, artifacts: Path) -> None:
    """Show a stage that DVC did not run: its figures, and a child that points to the run that made them."""
    record = StageRecord.load(stage, artifacts)
    figures = read_metrics(stage, artifacts)
    source = (record.run_id if record else None) or "untracked"
    store.log_now(client, parent_id, figures)
    store.link(client, parent_id, stage, source, state)
    tags = {
        "mlflow.parentRunId": parent_id,
        "stage": stage,
        "kind": state,
        "source_run_id": source,
        "mlflow.note.content": f"{state} by DVC. Made by [run {source}](#/experiments/{experiment}/runs/{source}).",
    }
    child = client.create_run(experiment, run_name=f"{stage} ({state})", tags=tags)
    store.log_now(client, child.info.run_id, figures)
    client.set_terminated(child.info.run_id)


def reconcile() -> list[str]:
    """Mark as KILLED the lineages whose process is gone, and their stages; the Prefect flow runs they belonged to."""
    client, experiment = store.connect()
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
