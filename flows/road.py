"""What every flow of this package does: walk the graph's stages in order, and keep Prefect and MLflow informed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Crashed

from components.lineage import process_identity
from components.provenance import flow_command, name_of
from flows.graph import dvc, select, stage_graph
from flows.parent_run import Lineage, reconcile
from flows.processes import end_orphaned_servers
from flows.stage_task import ingest, reproduce
from flows.workspace import Workspace, open_workspace, refresh


class StageFailed(RuntimeError):
    """A stage failed. The stage's last lines are in its task's state and, for the command line, in `last_lines`."""

    def __init__(self, stage: str, last_lines: str) -> None:
        super().__init__(f"{stage} failed; the same command goes on from its last checkpoint")
        self.last_lines = last_lines


def travel(
    preset: str, overrides: Mapping[str, Any], *, until: str | None, start: str | None, force: Sequence[str]
) -> dict[str, str]:
    """Bring stages up to date in a workspace; for each, what DVC did.

    Raises:
        ParamsError: preset, override or parameter file is wrong.
        StageFailed: a stage failed; the ones after it did not run.
    """
    workspace = open_workspace(Path.cwd(), preset, overrides)
    logger = get_run_logger()
    if workspace.is_variant:
        logger.info("overrides are in force: working in %s, params.yaml stays as it is", workspace.root)
    with workspace.exclusive(logger.warning):
        refresh(workspace)
        outcomes = {"ingest": _outcome("ingest", ingest(workspace, return_state=True))}
        _reconcile()  # after ingest, a process of its own: MLflow is being imported meanwhile
        if until == "ingest":
            return outcomes
        if workspace.is_variant:
            dvc(workspace, "checkout", "--allow-missing", check=False)  # what the overrides do not touch
        graph, stale = stage_graph(workspace.root)
        unknown = set(force) - set(graph.nodes)
        if unknown:
            raise ValueError(f"no stage {', '.join(sorted(unknown))} to force; the stages are {', '.join(graph.nodes)}")
        parent = _lineage(workspace, preset, overrides, until)
        return outcomes | _walk(workspace, select(graph, until=until, start=start), stale, set(force), parent)


def _lineage(workspace: Workspace, preset: str, overrides: Mapping[str, Any], until: str | None) -> Lineage:
    """The run in MLflow, named by what was asked for."""
    tags = {
        "session": process_identity(),
        "prefect.flow_run": str(flow_run.id or ""),
        "door": "prefect",
        "workspace": workspace.root.name if workspace.is_variant else "repository",
    }
    name, command = name_of(preset, overrides, workspace.tree), flow_command(until or "lineage", preset, overrides)
    return Lineage(workspace.tree, name=name, command=command, tags=tags, root=workspace.root)


def _walk(
    workspace: Workspace, stages: Sequence[str], stale: set[str], force: set[str], lineage: Lineage
) -> dict[str, str]:
    with lineage as parent:
        outcomes: dict[str, str] = {}
        anything_ran = False
        for stage in stages:
            # Once a stage has run, only DVC knows whether its outputs differ from before.
            may_run = anything_ran or stage in stale or stage in force
            state = reproduce(
                stage,
                workspace,
                parent.start() if may_run else "",
                stale=anything_ran or stage in stale,
                force=stage in force,
                return_state=True,
            )
            outcomes[stage] = _outcome(stage, state)
            anything_ran |= outcomes[stage] != "Cached"
            if outcomes[stage] != "Completed":
                parent.link(stage, outcomes[stage].lower())
        return outcomes


def _outcome(stage: str, state: Any) -> str:
    if state.is_failed() or state.is_crashed():
        raise StageFailed(stage, state.message or "")
    return str(state.result(raise_on_failure=False))


def _reconcile() -> None:
    """A flow that was killed outright could not clear up: end its server, tell MLflow and Prefect that it is gone."""
    end_orphaned_servers()
    for lost in reconcile():
        with get_client(sync_client=True) as client:
            try:
                client.set_flow_run_state(UUID(lost), Crashed(message="the flow's process is gone"), force=True)
            except Exception as error:  # another server's run, or a pruned one: nothing to correct here
                get_run_logger().info("flow run %s cannot be marked as crashed: %s", lost, error)
