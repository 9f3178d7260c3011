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
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from components import mlflow_store as store
from components.lineage import (
    CANDIDATE,
    CHAMPION,
    EXPERIMENT_VARIABLE,
    StageRecord,
    Verdict,
    alias_of,
    numbers,
    process_session,
    recorded_gates,
)
from components.lineage_run import (
    PASSED,
    conclude,
    create_parent,
    link_skipped,
    move_alias,
    point_aliases,
)
from components.metric_buffer import MetricBuffer
from components.pages import GATE, WEIGHTS_TAG, version_page
from components.pipelines import OpenPipeline
from components.prompting.registry import publish
from components.prompting.template import Template
from components.provenance import name_of, version_tags, weights_sha256
from components.stage import Kind
from components.views import metric_name

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PARENT_VARIABLE = "GPTLINEAGE_PARENT_RUN"
RETRY_SECONDS = 60.0
METRICS_LIMIT = 1000  # metrics of one request
NO_RATES: Mapping[str, float] = MappingProxyType({})


class StageTracker:
    """The tracked run of one stage: a child of its lineage's run, continued when the stage is resumed."""

    def __init__(
        self, stage: str, pipeline: OpenPipeline, tree: Mapping[str, Any], *, state: Path, artifacts: Path | None = None
    ) -> None:
        """The artifacts are the pipeline's, unless those of another place are given."""
        self.stage, self.pipeline, self.tree = stage, pipeline, tree
        self.artifacts = artifacts or pipeline.artifacts
        self.state_file = state / "tracking.json"
        self.unsent_file = state.parent.parent / "unsent" / f"{state.name}.jsonl"
        self.run_id: str | None = None
        self.parent_id: str | None = None
        self.version: str | None = None
        self.trouble: str | None = None
        self.gates: dict[str, Verdict] = {}
        self.facts: dict[str, str] = {}
        self._retry_at = 0.0
        self._buffer = MetricBuffer()

    def __enter__(self) -> "StageTracker":
        try:
            self._guard("start the run", lambda: None)
        except BaseException as error:  # a Ctrl-C while the run was being made: it is closed as one that ran
            self.__exit__(type(error), error, error.__traceback__)
            raise
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
        if self._buffer.add({metric_name(name): value for name, value in values.items()}, step):
            self.flush()

    def log_summary(self, metrics: Mapping[str, Any]) -> None:
        """Log a stage's final figures; those that a lineage is known by come on its run when it ends."""
        final = numbers(metrics, prefix=self.stage)
        # A figure with a curve has its last value there; a point at step 0 would spoil it.
        curves = self._buffer.curves | self._buffer.known_steps.keys()
        self.log_metrics({name: value for name, value in final.items() if name not in curves})

    def note(self, key: str, value: str) -> None:
        """Tag the run, and the version that it registers, with what is known only while the stage runs."""
        if self.facts.get(key) != value:
            self.facts[key] = value
            self._guard(f"note {key}", lambda: self._client.set_tag(self._run(), key, value))

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

    def register_prompt(self, name: str, text: str) -> None:
        """Register a template that the stage asked with; a text that is there already makes no new version."""
        self._guard(f"register the prompt {name}", lambda: publish(Template(name, text), run_id=self._run()))

    def register_model(self, folder: Path) -> None:
        """Register a stage's model as a new version under the node's name, and the alias of this workspace."""
        self._guard("register the model", lambda: self._register(folder))

    def promote(self, stage: str, version: str, failures: Sequence[str]) -> None:
        """Note a gate's verdict on a version. In the repository itself `champion` moves to it if the gate is open."""
        record = StageRecord.load(stage, self.artifacts)
        self.gates[stage] = {
            "verdict": "; ".join(failures) or PASSED,
            "run_id": record.run_id if record is not None else None,
        }
        self._guard(f"promote {self.pipeline.model_name(stage)}", lambda: self._promote(stage, version))

    def record(
        self, duration_seconds: float, peak_memory_gib: float, rates: Mapping[str, float] = NO_RATES
    ) -> dict[str, Any]:
        """The content of the stage's `run.json` (see `components.lineage.StageRecord`)."""
        return {
            "stage": self.stage,
            "run_id": self.run_id,
            "model_name": self.pipeline.model_name(self.stage) if self.version else None,
            "model_version": self.version,
            "alias": alias_of() if self.version else None,
            "gates": self.gates,
            "tracking": f"incomplete: {self.trouble}" if self.trouble else "complete",
            "duration_seconds": round(duration_seconds, 2),
            "peak_memory_gib": round(peak_memory_gib, 3),
            "rates": {name: round(rate, 1) for name, rate in rates.items()},
        }

    def _start(self) -> None:
        self._client, experiment = store.connect()
        self.parent_id = os.environ.get(PARENT_VARIABLE) or self._session_parent(experiment)
        if self.state_file.exists():
            self._resume(json.loads(self.state_file.read_text())["run_id"])
            return
        tags = {"mlflow.parentRunId": self.parent_id, "stage": self.stage, "kind": "stage", **self._origin()}
        tags |= store.source_tags(f"python -m components.stages {self.stage}", tags["git.commit"])
        run = self._client.create_run(experiment, run_name=self.stage, tags=tags)
        self.run_id = run.info.run_id
        self.state_file.write_text(json.dumps({"run_id": self.run_id}))
        store.log_inputs(self._client, self.run_id, self.tree, self.pipeline, self.stage)

    def _resume(self, run_id: str) -> None:
        """Go on with the run of a stage that was stopped, as a child of the lineage that will finish it."""
        self.run_id = run_id
        # First of this lineage: a running stage of one that is gone is taken for lost.
        self._client.set_tag(run_id, "mlflow.parentRunId", self.parent_id)
        self._client.update_run(run_id, status="RUNNING")
        for key in self._client.get_run(run_id).data.metrics:
            steps = [point.step for point in self._client.get_metric_history(run_id, key)]
            self._buffer.known_steps[key] = max(steps)

    def _origin(self) -> dict[str, str]:
        return version_tags(self.stage, self.tree, self.pipeline, self.artifacts) | self.facts

    def _session_parent(self, experiment: str) -> str:
        """The parent run of this `dvc` command, made by its first stage; what DVC skipped is linked to it."""
        session = process_session()
        found = self._client.search_runs([experiment], f"tags.session = '{session}'", max_results=1)
        if found:
            parent_id = str(found[0].info.run_id)
            self._client.update_run(parent_id, status="RUNNING")
        else:
            name = os.environ.get(EXPERIMENT_VARIABLE) or name_of("default", {}, self.tree, self.pipeline)
            command = "dvc exp run" if EXPERIMENT_VARIABLE in os.environ else "dvc repro"
            command += "" if self.pipeline.is_default else f" {self.pipeline.graph_file}"
            tags = {"session": session, "door": "dvc"}
            parent_id = create_parent(self._client, experiment, self.tree, name, command, tags, self.pipeline)
        linked = self._client.get_run(parent_id).data.tags
        for above in self.pipeline.ancestors(self.stage):
            if f"stage.{above}.state" not in linked:
                link_skipped(self._client, experiment, parent_id, above, "cached", self.artifacts)
        ancestors, models = self.pipeline.ancestors(self.stage), self.pipeline.models
        stages = models if alias_of() == CANDIDATE else [name for name in ancestors if name in models]
        point_aliases(self._client, self.artifacts, alias_of(), self.pipeline, stages=stages)
        return parent_id

    def _finish(self, status: str) -> None:
        self._client.set_terminated(self._run(), status)
        if self.parent_id is None:
            return
        model = f"models:/{self.pipeline.model_name(self.stage)}/{self.version}" if self.version else None
        state = "ran" if status == "FINISHED" else status.lower()
        store.link(self._client, self.parent_id, self.stage, self._run(), state, model)
        if not os.environ.get(PARENT_VARIABLE):  # the `dvc repro` door: whichever stage is last closes the lineage
            gates = recorded_gates(self.pipeline.judges, self.artifacts) | self.gates
            conclude(self._client, self.parent_id, self.tree, self.artifacts, gates, self.pipeline)
            self._client.set_terminated(self.parent_id, status)

    def _register(self, folder: Path) -> None:
        name, kind = self.pipeline.model_name(self.stage), self.pipeline.stages[self.stage].model
        version = store.log_model(self._run(), self.stage, name, folder, talks=kind == Kind.LANGUAGE_MODEL)
        self._client.update_run(self._run(), status="RUNNING")
        self.version = version
        tags = self._origin() | {"run_id": self._run(), WEIGHTS_TAG: weights_sha256(folder)}
        store.describe_version(self._client, name, version, tags, version_page(name, version, tags))
        self._client.set_registered_model_alias(name, alias_of(), version)
        logger.info("registered models:/%s/%s (alias %s)", name, version, alias_of())

    def _promote(self, stage: str, version: str) -> None:
        """A variant does not judge anew what it shares with the repository, and moves no champion."""
        found = store.recorded_version(self._client, stage, self.artifacts)
        if found is None or str(found.version) != str(version):
            logger.warning(
                "%s/%s is not in this store, or is another run's there: nothing is promoted",
                self.pipeline.model_name(stage),
                version,
            )
            return
        own, verdict = alias_of() == CANDIDATE, self.gates[stage]["verdict"]
        if own or GATE not in found.tags:
            tags = {GATE: verdict, "gate.bounds": self._bounds(stage)}
            page = version_page(found.name, str(found.version), found.tags | tags)
            store.describe_version(self._client, found.name, str(found.version), tags, page)
        if own and verdict == PASSED:
            move_alias(self._client, found, CHAMPION)

    def _bounds(self, stage: str) -> str:
        gates = self.tree.get("gates", {}).get(stage, ())
        words = {"minimum": "at least", "maximum": "at most"}
        bounds = [f"{gate['metric']} {words[key]} {gate[key]}" for gate in gates for key in words if key in gate]
        return "; ".join(bounds) or "none"

    def _run(self) -> str:
        if self.run_id is None:
            raise RuntimeError("the run was never started")
        return self.run_id

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
