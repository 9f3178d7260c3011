"""One stage as a Prefect task: DVC reproduces it, its state here says what DVC did."""

import re
import sys
from collections import deque
from typing import cast
from uuid import UUID

from prefect import State, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows.graph import dvc, has_remote, is_changed
from flows.processes import run_streaming
from flows.workspace import Workspace

LAST_LINES = 15
# What `dvc repro` prints, and the state it stands for. The last one that matches wins.
OUTCOMES = (
    (re.compile(r"^Stage '.*' didn't change, skipping"), "Cached"),
    (re.compile(r"^Stage '.*' is cached - skipping run"), "Restored"),
    (re.compile(r"^Running stage '"), "Completed"),
)
PROGRESS = re.compile(r"^\[\w+\] (\d+) % \|")


class StageReader:
    """Reads the output of `dvc repro` for one stage: log lines, progress, outcome."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.outcome = "Cached"
        self.tail: deque[str] = deque(maxlen=LAST_LINES)
        self.logger = get_run_logger()
        self._artifact: UUID | None = None

    def __call__(self, line: str) -> None:
        if not line:
            return
        self.tail.append(line)
        self.logger.info(line)
        for pattern, outcome in OUTCOMES:
            if pattern.match(line):
                self.outcome = outcome
        progress = PROGRESS.match(line)
        if progress:
            self._show(float(progress[1]))

    def _show(self, percent: float) -> None:
        if self._artifact is None:
            self._artifact = cast(
                UUID, create_progress_artifact(percent, key=f"{self.stage}-progress", description=self.stage)
            )
        else:
            update_progress_artifact(self._artifact, percent)


def _done(stage: str, outcome: str, message: str) -> State:
    """The state of a stage that is up to date; its name says what was done.

    Prefect draws an edge to whichever task returned an object last, so that no two stages may return the same text.
    """
    return Completed(name=outcome, message=message, data=f"{stage}: {message}")


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def reproduce(stage: str, workspace: Workspace, parent_run: str, *, stale: bool, force: bool) -> State:
    """Have DVC bring one stage up to date; Completed, Restored, Cached or Failed.

    A stage that is known not to be stale is not asked about again.
    """
    if not stale and not force:
        return _done(stage, "Cached", "unchanged")
    reader = StageReader(stage)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    command += ["--force"] if force else []
    command += ["--pull"] if has_remote(workspace.root) else []
    environment = workspace.environment(GPTLINEAGE_PARENT_RUN=parent_run)
    status = run_streaming(command, cwd=workspace.root, env=environment, on_line=reader)
    if status:
        return Failed(message=f"exit status {status}; last lines:\n" + "\n".join(reader.tail))
    return _done(stage, reader.outcome, f"dvc: {reader.outcome.lower()}")


@task(task_run_name="ingest", cache_policy=NO_CACHE)
def ingest(workspace: Workspace, *, force: bool) -> State:
    """Make `data/` the version that `data.dvc` names: pulled or checked out by DVC, or built anew from its source."""
    pointer, data = workspace.root / "data.dvc", workspace.root / "data"
    # What a variant has is only ever a copy: it follows the repository's data.dvc.
    if pointer.exists() and (not data.exists() or (workspace.is_variant and is_changed(workspace.root, "data.dvc"))):
        command = "pull" if has_remote(workspace.root) else "checkout"
        dvc(workspace, command, *(["--force"] if workspace.is_variant else []), "data.dvc", check=False)
    reader = StageReader("ingest")
    command_line = [sys.executable, "-m", "components.stages.ingest", *(["--force"] if force else [])]
    status = run_streaming(command_line, cwd=workspace.root, env=workspace.environment(), on_line=reader)
    if status:
        return Failed(message="\n".join(reader.tail))
    unchanged = any(line.startswith("[ingest] unchanged") for line in reader.tail)
    if not unchanged or not pointer.exists():
        # Into the cache, so that `dvc checkout`, `dvc push` and variants find it.
        dvc(workspace, *(("commit", "--force", "data.dvc") if pointer.exists() else ("add", "data")))
    if unchanged:
        return _done("ingest", "Cached", "unchanged")
    return _done("ingest", "Completed", "built from its source")
