"""What every flow of this package does: bring a pipeline's stages up to date, and keep Prefect and MLflow informed."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect import State, get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Crashed

from components.lineage import process_identity
from components.pipelines import DEFAULT
from components.provenance import flow_command, name_of
from flows import labels
from flows.checks import check
from flows.graph import dvc, judge, select
from flows.parent_run import Lineage, reconcile
from flows.results import show_results
from flows.stage_task import ingest
from flows.walk import StageFailed, Walk, outcomes, outlook
from flows.workspace import Workspace, refresh


def run_pipeline(
    preset: str,
    overrides: Mapping[str, Any],
    *,
    pipeline: str = DEFAULT,
    until: str | None = None,
    start: str | None = None,
    force: Sequence[str] = (),
    at_once: int = 1,
) -> dict[str, str]:
    """Bring stages up to date in a workspace, up to `at_once` at the same time; for each, what DVC did.

    Raises:
        SetupError, PipelineError, ParamsError, ValueError: what was asked for is impossible (`flows.checks.check`).
        StageFailed: a stage failed; the ones after it did not run.
    """
    workspace = check(preset, overrides, pipeline=pipeline, until=until, start=start, force=force)
    logger = get_run_logger()
    if workspace.is_variant:
        logger.info("overrides are in force: working in %s, params.yaml stays as it is", workspace.root)
    with workspace.exclusive(logger.warning):
        refresh(workspace)
        states: dict[str, State] = {}
        _ingest(workspace, states, force="ingest" in force)
        _reconcile()  # after ingest, a process of its own: MLflow is being imported meanwhile
        if until == "ingest":
            return outcomes(states)
        if workspace.is_variant:
            dvc(workspace, "checkout", "--allow-missing", check=False)  # what the overrides do not touch
        labels.bring(workspace)
        judged = judge(workspace.root, workspace.pipeline.graph_file)
        lineage = _lineage(workspace, preset, overrides, until)
        waiting = labels.waiting(workspace, judged.graph)
        selected = select(judged.graph, until=until, start=start)
        stages = [stage for stage in selected if stage not in waiting]
        if len(stages) < len(selected):
            logger.info("waiting for people's answers: %s", ", ".join(each for each in selected if each in waiting))
        with lineage:
            Walk(workspace, judged, lineage, states, force=force, at_once=at_once).go(stages)
        show_results(workspace, outcomes(states), lineage.run_id)
        return outcomes(states)


def _lineage(workspace: Workspace, preset: str, overrides: Mapping[str, Any], until: str | None) -> Lineage:
    """The run in MLflow, named by what was asked for."""
    tags = {
        "session": process_identity(),
        "prefect.flow_run": str(flow_run.id or ""),
        "door": "prefect",
        "workspace": workspace.root.name if workspace.is_variant else "repository",
    }
    pipeline = workspace.pipeline
    name = name_of(preset, overrides, workspace.tree, pipeline)
    command = flow_command(preset, overrides, until, str(workspace.elsewhere or pipeline.asked_by))
    return Lineage(workspace.tree, pipeline, name=name, command=command, tags=tags, root=workspace.root)


def _ingest(workspace: Workspace, states: dict[str, State], *, force: bool) -> None:
    try:
        state = ingest(workspace, force=force, return_state=True)
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C, SIGTERM, a cancelled flow
            error.add_note(outlook("ingest", workspace))
        raise
    if state.is_failed() or state.is_crashed():
        raise StageFailed("ingest", state.message or "", outlook("ingest", workspace))
    states["ingest"] = state


def _reconcile() -> None:
    """A flow that was killed outright could not clear up: tell MLflow and Prefect that it is gone."""
    for lost in reconcile():
        with get_client(sync_client=True) as client:
            try:
                client.set_flow_run_state(UUID(lost), Crashed(message="the flow's process is gone"), force=True)
            except Exception as error:  # another server's run, or a pruned one: nothing to correct here
                get_run_logger().info("flow run %s cannot be marked as crashed: %s", lost, error)
