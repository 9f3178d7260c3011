"""The run of a lineage in MLflow: its children, page and end, and the aliases of the models in its workspace."""

import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from components import mlflow_store as store
from components import params as parameters
from components.figures import Headline, of_pipeline
from components.gates import look_up
from components.lineage import (
    CANDIDATE,
    CHAMPION,
    StageRecord,
    Verdict,
    is_alive,
    read_evaluation,
    read_metrics,
    recorded_gates,
)
from components.pages import lineage_page
from components.pipelines import OpenPipeline
from components.provenance import differences, label_tags, version_tags
from components.views import metric_name, run_page

logger = logging.getLogger(__name__)
PASSED = "passed"
REPORTS = ("report.html", "report.md", "plots")


def create_parent(
    client: Any,
    experiment: str,
    tree: Mapping[str, Any],
    name: str,
    command: str,
    tags: Mapping[str, str],
    pipeline: OpenPipeline,
    workspace: Path = Path(),
) -> str:
    """Start the run of a lineage, named by what was asked for and with the command line that did; its run id.

    workspace: the repository, or the copy of it that the flow works in, whose data the lineage is made of.
    """
    pointer = workspace / pipeline.pointer
    origin = version_tags(None, tree, pipeline, workspace / pipeline.artifacts, pointer)
    source = store.source_tags(command, origin["git.commit"])
    about = {"kind": "lineage", "command": command, **origin, **source, **tags}
    run_id = str(client.create_run(experiment, run_name=name, tags=about).info.run_id)
    store.log_inputs(client, run_id, tree, pipeline, pointer=pointer)
    return run_id


def link_skipped(client: Any, experiment: str, parent_id: str, stage: str, state: str, artifacts: Path) -> None:
    """Show a stage that DVC did not run: a child with its figures that points to the run that made them."""
    record = StageRecord.load(stage, artifacts)
    if record is None:
        return
    source = record.run_id or "untracked"
    store.link(client, parent_id, stage, source, state, record.address)
    maker = f"[run {source}]({run_page('', experiment, source)})"
    tags = {
        "mlflow.parentRunId": parent_id,
        "stage": stage,
        "kind": state,
        "source_run_id": source,
        **store.note(f"{state} by DVC. Made by {maker}."),
    }
    child = client.create_run(experiment, run_name=f"{stage} ({state})", tags=tags)
    figures = {metric_name(name): value for name, value in read_metrics(stage, artifacts).items()}
    store.log_now(client, child.info.run_id, figures)
    client.set_terminated(child.info.run_id)


def conclude(
    client: Any,
    parent_id: str,
    tree: Mapping[str, Any],
    artifacts: Path,
    gates: Mapping[str, Verdict],
    pipeline: OpenPipeline,
    workspace: Path = Path(),
) -> None:
    """Write what a lineage came to on its run: headline figures, verdicts, report, and a page that sums it up; where it
    read people's labels, the newest round of them and their digest.

    Args:
        client: MLflow's.
        parent_id: the lineage's run.
        tree: parameters in force.
        artifacts: the workspace's.
        gates: what the judges found; counts where the one of a model is among the lineage's stages.
        pipeline: whose lineage it is.
        workspace: the repository, or the copy of it that the flow works in.
    """
    tags = client.get_run(parent_id).data.tags
    states = {stage: tags[key] for stage in pipeline.nodes if (key := f"stage.{stage}.state") in tags}
    judges = [node for node in pipeline.judges if node in states]  # in this lineage, and not before it
    evaluation = read_evaluation(judges, artifacts)
    figures = headline_figures(evaluation, dict(tree), pipeline) if evaluation else {}
    judged = {node for judge in judges for node in pipeline.judged(judge)} if evaluation else set()
    verdicts = {stage: gate["verdict"] for stage, gate in gates.items() if stage in judged}
    passed = {f"gate/{stage}": float(verdict == PASSED) for stage, verdict in verdicts.items()}
    rounded = {line.metric: float(f"{value:.4g}") for line, value in figures.items()}  # evaluate's own run has them all
    store.log_now(client, parent_id, rounded | passed)
    stages = {stage: (state, tags.get(f"stage.{stage}.model", "")) for stage, state in states.items()}
    named = {pipeline.model_name(node): verdict for node, verdict in verdicts.items()}
    page = lineage_page(tags, figures, named, differences(tree, pipeline), stages)
    about = {f"gate.{stage}": verdict for stage, verdict in verdicts.items()} | store.note(page)
    about |= label_tags(pipeline, states, workspace)
    if verdicts:
        closed = ", ".join(stage for stage, verdict in verdicts.items() if verdict != PASSED)
        about["gates"] = f"closed: {closed}" if closed else "all passed"
    about |= {key: str(evaluation[key]) for key in ("precision", "split") if key in evaluation}
    store.set_tags(client, parent_id, about)
    for judge in judges:
        folder = judge if len(judges) > 1 else ""
        _attach(client, parent_id, [artifacts / judge / name for name in REPORTS], folder)


def headline_figures(
    evaluation: Mapping[str, Any], tree: dict[str, Any], pipeline: OpenPipeline
) -> dict[Headline, float]:
    """The figures that a pipeline's lineages are known by, of those that an evaluation has."""
    known = of_pipeline(pipeline, parameters.sections_of(tree, pipeline, pipeline.judges))
    found = {line: look_up(evaluation, line.figure) for line in known}
    return {line: value for line, value in found.items() if value is not None}


def _attach(client: Any, run_id: str, paths: Iterable[Path], folder: str) -> None:
    for path in paths:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), f"{folder}/{path.name}" if folder else path.name)
        elif path.exists():
            client.log_artifact(run_id, str(path), folder or None)


def point_aliases(
    client: Any,
    artifacts: Path,
    alias: str,
    pipeline: OpenPipeline,
    *,
    judged_again: Collection[str] = (),
    stages: Iterable[str] | None = None,
) -> None:
    """Have an alias point at the models that lie in a workspace, whoever made or restored them.

    Where an older state came back, `champion` of the repository comes back too, if `evaluate` found the gate open then.

    Args:
        client: MLflow's.
        artifacts: the workspace's.
        alias: `candidate`, or a variant's own.
        pipeline: whose nodes they are.
        judged_again: nodes whose judge's record came back too, so that its verdicts count where no model did.
        stages: of a variant, those that are up to date; what else lies there is the repository's. By default all.
    """
    verdicts = recorded_gates(pipeline.judges, artifacts)
    for stage in pipeline.models if stages is None else stages:
        version = store.recorded_version(client, stage, artifacts)
        if version is None:
            continue
        moved = move_alias(client, version, alias)
        gate = verdicts.get(stage)
        passed = gate is not None and gate["verdict"] == PASSED and gate["run_id"] == version.run_id
        if alias == CANDIDATE and passed and (moved or stage in judged_again):
            move_alias(client, version, CHAMPION)


def move_alias(client: Any, version: Any, alias: str) -> bool:
    """Point an alias at a version; whether it pointed elsewhere."""
    if store.aliased(client, version.name, alias) == str(version.version):
        return False
    client.set_registered_model_alias(version.name, alias, str(version.version))
    logger.info("models:/%s@%s is now version %s", version.name, alias, version.version)
    return True


def reconcile() -> list[str]:
    """Mark as KILLED the lineages and stages whose process is gone; the Prefect flow runs they belonged to.

    A stage is as its lineage is, which may have been closed by a flow that was stopped while the stage was starting.
    """
    client, experiment = store.connect()
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    lineages = {run.info.run_id: run for run in running if run.data.tags.get("kind") == "lineage"}
    parents = {run.data.tags.get("mlflow.parentRunId", "") for run in running} - lineages.keys() - {""}
    found = [run for run_id in parents if (run := store.run_or_none(client, run_id)) is not None]
    lineages |= {run.info.run_id: run for run in found if run.data.tags.get("kind") == "lineage"}
    gone = {key: run for key, run in lineages.items() if not is_alive(run.data.tags.get("session", ""))}
    lost = [run for run in running if {run.info.run_id, run.data.tags.get("mlflow.parentRunId")} & gone.keys()]
    for run in lost:
        client.set_terminated(run.info.run_id, "KILLED")
    flow_runs = (gone[run.info.run_id].data.tags.get("prefect.flow_run") for run in lost if run.info.run_id in gone)
    return [flow_run for flow_run in flow_runs if flow_run]
