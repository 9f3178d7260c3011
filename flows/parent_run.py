"""The MLflow run of one flow."""

import importlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, TypeVar

from components.lineage import CANDIDATE, alias_of, recorded_gates
from components.pipelines import OpenPipeline

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
RETRY_SECONDS = 60.0
_silent_until = float("-inf")


def tracking() -> ModuleType:
    """What is logged of lineages, imported at first use: MLflow takes seconds, in which Prefect's server starts."""
    return importlib.import_module("components.lineage_run")


def tracked(what: str, action: Callable[[], Result]) -> Result | None:
    """What an MLflow call returns, or None after trouble, which is said once and not tried again for a while.

    Whatever MLflow raises (its own, sqlite's, requests' and OS errors), the flow goes on.
    """
    global _silent_until
    if time.monotonic() < _silent_until:
        return None
    try:
        return action()
    except Exception as error:
        if _silent_until == float("-inf"):
            logger.warning("tracking: could not %s: %s; the flow goes on untracked", what, str(error).splitlines()[0])
        _silent_until = time.monotonic() + RETRY_SECONDS
        return None


def reconcile() -> list[str]:
    """Mark lineages whose process is gone in MLflow; the Prefect flow runs they belonged to."""
    return tracked("look for lost lineages", lambda: tracking().reconcile()) or []


class Lineage:
    """The run of one flow: its stages are its children, those that DVC skipped included.

    It begins with the first stage that may run, so that a flow which finds nothing to do leaves none. At the flow's end
    the workspace's aliases point at the models that lie in it.
    """

    def __init__(
        self,
        tree: Mapping[str, Any],
        pipeline: OpenPipeline,
        *,
        name: str,
        command: str,
        tags: Mapping[str, str],
        root: Path,
    ) -> None:
        self.tree, self.name, self.command, self.tags, self.root = tree, name, command, tags, root
        self.pipeline, self.artifacts = pipeline, root / pipeline.artifacts
        self.run_id: str | None = None
        self.skipped: dict[str, str] = {}

    def __enter__(self) -> "Lineage":
        return self

    def start(self) -> str:
        """Begin the run if it has not begun; its id, or "" while MLflow cannot be reached."""
        if self.run_id is None:
            self.run_id = tracked("start the run of the lineage", self._create)
        return self.run_id or ""

    def _create(self) -> str:
        client, experiment = tracking().store.connect()
        create = tracking().create_parent
        return str(create(client, experiment, self.tree, self.name, self.command, self.tags, self.pipeline, self.root))

    def link(self, stage: str, state: str) -> None:
        """Note a stage that DVC did not run; it is shown with the run that made it."""
        self.skipped[stage] = state

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        if self.run_id is not None:
            tracked("finish the run of the lineage", lambda: self._finish(status))
        if self.skipped:
            tracked("point the aliases at what lies here", self._point)

    def _finish(self, status: str) -> None:
        client, experiment = tracking().store.connect()
        assert self.run_id is not None
        ran = any(key.startswith("stage.") for key in client.get_run(self.run_id).data.tags)
        if status == "FINISHED" and not ran and set(self.skipped.values()) <= {"cached"}:
            client.delete_run(self.run_id)
            return
        for stage, state in self.skipped.items():
            tracking().link_skipped(client, experiment, self.run_id, stage, state, self.artifacts)
        gates = recorded_gates(self.pipeline.judges, self.artifacts)
        tracking().conclude(client, self.run_id, self.tree, self.artifacts, gates, self.pipeline, self.root)
        client.set_terminated(self.run_id, status)

    def _point(self) -> None:
        client, _ = tracking().store.connect()
        restored = [judge for judge in self.pipeline.judges if self.skipped.get(judge) == "restored"]
        again = {node for judge in restored for node in self.pipeline.judged(judge)}
        alias = alias_of(self.root)
        stages = [stage for stage in self.pipeline.models if alias == CANDIDATE or stage in self.skipped]
        tracking().point_aliases(client, self.artifacts, alias, self.pipeline, judged_again=again, stages=stages)
