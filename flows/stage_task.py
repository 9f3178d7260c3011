"""One stage as a Prefect task: its state says what became of it."""

import re
import sys
from collections import deque
from typing import cast
from uuid import UUID

from prefect import State, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from components import params as parameters
from flows.graph import dvc, has_remote, is_changed
from flows.here import LAST_LINES, bring_up_to_date
from flows.processes import Processes, run_streaming
from flows.workspace import Workspace

PROGRESS = re.compile(r"^\[\w+\] (\d+) % \|")


class Reporter:
    """Shows a stage's lines in Prefect as they come: in the log, and as progress."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.tail: deque[str] = deque(maxlen=LAST_LINES)
        self.logger = get_run_logger()
        self._artifact: UUID | None = None

    def __call__(self, line: str) -> None:
        if not line:
            return
        self.tail.append(line)
        self.logger.info(line)
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
def reproduce(
    stage: str, workspace: Workspace, parent_run: str, processes: Processes, *, may_run: bool, force: bool
) -> State:
    """Bring one stage up to date; Completed, Restored, Cached or Failed.

    A stage that is known to be up to date is not asked about again.
    """
    if not may_run:
        return _done(stage, "Cached", "unchanged")
    result = bring_up_to_date(
        stage, workspace, parent_run=parent_run, force=force, on_line=Reporter(stage), processes=processes
    )
    if result.outcome == "Failed":
        return Failed(message=result.message)
    return _done(stage, result.outcome, result.message)


def ingest_command(workspace: Workspace) -> list[str]:
    """What builds a pipeline's data: from its own source, or from the default pipeline's where it names none."""
    own = parameters.INGEST in workspace.tree
    params = workspace.params_file if own else parameters.PARAMS_FILE
    words = ["-m", "components.stages.ingest", "--data", str(workspace.pipeline.data), "--params", str(params)]
    return [sys.executable, *words]


@task(task_run_name="ingest", cache_policy=NO_CACHE)
def ingest(workspace: Workspace, *, force: bool) -> State:
    """Make the data the version that their `.dvc` names: pulled or checked out by DVC, or built from the source."""
    name = str(workspace.pipeline.pointer)
    pointer, data = workspace.root / name, workspace.root / workspace.pipeline.data
    # What a variant has is only ever a copy: it follows the repository's data.dvc.
    if pointer.exists() and (not data.exists() or (workspace.is_variant and is_changed(workspace.root, name))):
        how = "pull" if has_remote(workspace.root) else "checkout"
        dvc(workspace, how, *(["--force"] if workspace.is_variant else []), name, check=False)
    reporter = Reporter("ingest")
    command = [*ingest_command(workspace), *(["--force"] if force else [])]
    status = run_streaming(command, cwd=workspace.root, env=workspace.environment(), on_line=reporter)
    if status:
        return Failed(message="\n".join(reporter.tail))
    unchanged = any(line.startswith("[ingest] unchanged") for line in reporter.tail)
    if not unchanged or not pointer.exists():
        # Into the cache, so that `dvc checkout`, `dvc push` and variants find it.
        dvc(workspace, *(("commit", "--force", name) if pointer.exists() else ("add", str(workspace.pipeline.data))))
    if unchanged:
        return _done("ingest", "Cached", "unchanged")
    return _done("ingest", "Completed", "built from its source")
