"""What every flow of this package does: walk the graph's stages in order, and keep Prefect and MLflow informed."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import networkx
from prefect import State, get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Crashed

from components.lineage import process_identity
from components.provenance import flow_command, name_of
from flows.checks import check
from flows.graph import dvc, select, stage_graph
from flows.parent_run import Lineage, reconcile
from flows.results import show_results
from flows.stage_task import ingest, reproduce
from flows.workspace import Workspace, refresh


class StageFailed(RuntimeError):
    """A stage failed. The stage's last lines are in its task's state and, for the command line, in `last_lines`."""

    def __init__(self, stage: str, last_lines: str, outlook: str) -> None:
        super().__init__(f"{stage} failed; {outlook}")
        self.last_lines = last_lines


def run_pipeline(
    preset: str, overrides: Mapping[str, Any], *, until: str | None, start: str | None, force: Sequence[str]
) -> dict[str, str]:
    """Bring stages up to date in a workspace; for each, what DVC did.

    Raises:
        SetupError, ParamsError, ValueError: what was asked for is impossible (`flows.checks.check`).
        StageFailed: a stage failed; the ones after it did not run.
    """
    workspace = check(preset, overrides, until=until, start=start, force=force)
    logger = get_run_logger()
    if workspace.is_variant:
        logger.info("overrides are in force: working in %s, params.yaml stays as it is", workspace.root)
    with workspace.exclusive(logger.warning):
        refresh(workspace)
        states: dict[str, State] = {}
        _pass("ingest", workspace, states, lambda: ingest(workspace, force="ingest" in force, return_state=True))
        _reconcile()  # after ingest, a process of its own: MLflow is being imported meanwhile
        if until == "ingest":
            return _outcomes(states)
        if workspace.is_variant:
            dvc(workspace, "checkout", "--allow-missing", check=False)  # what the overrides do not touch
        graph, stale = stage_graph(workspace.root)
        lineage = _lineage(workspace, preset, overrides, until)
        stages = select(graph, until=until, start=start)
        with lineage:
            _walk(workspace, graph, stages, stale, set(force), lineage, states)
        show_results(workspace, _outcomes(states), lineage.run_id)
        return _outcomes(states)


def _lineage(workspace: Workspace, preset: str, overrides: Mapping[str, Any], until: str | None) -> Lineage:
    """The run in MLflow, named by what was asked for."""
    tags = {
        "session": process_identity(),
        "prefect.flow_run": str(flow_run.id or ""),
        "door": "prefect",
        "workspace": workspace.root.name if workspace.is_variant else "repository",
    }
    name, command = name_of(preset, overrides, workspace.tree), flow_command(preset, overrides, until)
    return Lineage(workspace.tree, name=name, command=command, tags=tags, root=workspace.root)


def _walk(
    workspace: Workspace,
    graph: "networkx.DiGraph[str]",
    stages: Sequence[str],
    stale: set[str],
    force: set[str],
    lineage: Lineage,
    states: dict[str, State],
) -> None:
    anything_ran = False
    for stage in stages:
        # Once a stage has run, only DVC knows whether its outputs differ from before.
        may_run = anything_ran or stage in stale or stage in force
        upstream = [name for name in graph.predecessors(stage) if name in states] or ["ingest"]
        after = [states[name] for name in upstream]
        outcome = _pass(
            stage,
            workspace,
            states,
            lambda stage=stage, may_run=may_run, after=after: reproduce(  # type: ignore[misc]
                stage,
                workspace,
                lineage.start() if may_run else "",
                stale=may_run,
                force=stage in force,
                return_state=True,
                wait_for=after,  # an edge in Prefect's graph of the run
            ),
        )
        anything_ran |= outcome != "Cached"
        if outcome != "Completed":
            lineage.link(stage, outcome.lower())


def _pass(stage: str, workspace: Workspace, states: dict[str, State], run: Any) -> str:
    """Run a stage's task and keep its state; what DVC did."""
    try:
        state: State = run()
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C, SIGTERM, a cancelled flow
            error.add_note(_outlook(stage, workspace))
        raise
    if state.is_failed() or state.is_crashed():
        raise StageFailed(stage, state.message or "", _outlook(stage, workspace))
    states[stage] = state
    return _outcomes(states)[stage]


def _outcomes(states: Mapping[str, State]) -> dict[str, str]:
    return {stage: state.name or "" for stage, state in states.items()}


def _outlook(stage: str, workspace: Workspace) -> str:
    runtime = importlib.import_module("components.runtime")  # MLflow, which only failures wait for
    return str(runtime.how_it_goes_on(stage, Path(workspace.root)))


def _reconcile() -> None:
    """A flow that was killed outright could not clear up: tell MLflow and Prefect that it is gone."""
    for lost in reconcile():
        with get_client(sync_client=True) as client:
            try:
                client.set_flow_run_state(UUID(lost), Crashed(message="the flow's process is gone"), force=True)
            except Exception as error:  # another server's run, or a pruned one: nothing to correct here
                get_run_logger().info("flow run %s cannot be marked as crashed: %s", lost, error)
