"""The result of a flow, in a few rows: for the terminal, and for Prefect as an artifact with links to the rest."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.settings import get_current_settings

from components import params as parameters
from components.figures import Headline, of_pipeline
from components.gates import Verdict, look_up, verdicts
from components.lineage import StageRecord, read_evaluation
from components.views import run_page
from flows.parent_run import tracked, tracking
from flows.server import HOST, addresses
from flows.workspace import Workspace

SHARES = ("win_rate", "share", "increase", "share_of_ceiling", "accuracy")


def evaluation(workspace: Workspace) -> dict[str, Any] | None:
    """The figures of the nodes that evaluate, or None where there are none or they have not run."""
    with contextlib.suppress(OSError, ValueError):
        return read_evaluation(workspace.pipeline.judges, workspace.artifacts) or None
    return None


def figures(metrics: Mapping[str, Any], workspace: Workspace) -> Iterator[tuple[str, str]]:
    """What a headline figure is, and its value with the bounds of its interval where it has them."""
    for headline, value in headline_figures(metrics, workspace).items():
        section, _, name = headline.figure.partition(".")
        own = metrics.get(section, {})
        low, high = own.get(f"{name}_low"), own.get(f"{name}_high")
        between = f" [{_spelled(name, low)}, {_spelled(name, high)}]" if low is not None and high is not None else ""
        yield headline.words, _spelled(name, value) + between


def headline_figures(metrics: Mapping[str, Any], workspace: Workspace) -> dict[Headline, float]:
    """The figures that the pipeline's lineages are known by, of those that an evaluation has."""
    pipeline = workspace.pipeline
    known = of_pipeline(pipeline, parameters.sections_of(workspace.tree, pipeline, pipeline.judges))
    found = {line: look_up(metrics, line.figure) for line in known}
    return {line: value for line, value in found.items() if value is not None}


def _spelled(name: str, value: float) -> str:
    return f"{value:.1%}" if name.endswith(SHARES) else f"{value:.3f}"


def gates(workspace: Workspace) -> dict[str, str]:
    """For each node with a gate, `passed` or what does not hold, by the figures of the node that judges its model."""
    pipeline = workspace.pipeline
    bounds = parameters.check(workspace.tree, pipeline, source="the parameters in force").shared["gates"]
    found: dict[str, Verdict] = {}
    for judge in pipeline.judges:
        if metrics := read_evaluation([judge], workspace.artifacts):
            own = set(pipeline.judged(judge))
            found |= verdicts({node: each for node, each in bounds.items() if node in own}, metrics)
    return {node: str(found[node]) for node in bounds if node in found}


def show_results(workspace: Workspace, outcomes: Mapping[str, str], run_id: str | None) -> None:
    """Leave an artifact in Prefect with what the flow came to and where the rest is; a failure is told, no more."""
    try:
        create_markdown_artifact(_markdown(workspace, outcomes, run_id), key="results", description="What it came to")
    except Exception as error:  # whatever Prefect raises, the results are there
        get_run_logger().warning("the results could not be shown in Prefect: %s", error)


def _markdown(workspace: Workspace, outcomes: Mapping[str, str], run_id: str | None) -> str:
    artifacts, pipeline = workspace.artifacts, workspace.pipeline
    lines = _table(("stage", "this time", "model"), ((s, o, _address(s, artifacts)) for s, o in outcomes.items()))
    metrics = evaluation(workspace) if not outcomes.keys().isdisjoint(pipeline.judges) else None
    if metrics is not None:
        lines += ["", *_table(("figure", "value"), figures(metrics, workspace))]
        lines += ["", *_table(("gate", "verdict"), gates(workspace).items())]
        lines += ["", *(f"Report: `{artifacts / judge / 'report.html'}`" for judge in pipeline.judges)]
    page = mlflow_page(run_id)
    lines += ["", f"[This lineage in MLflow]({page}) (while `make ui` runs)"] if page else []
    return "\n".join(lines)


def _address(stage: str, artifacts: Path) -> str:
    record = StageRecord.load(stage, artifacts)
    return (record.address if record else None) or ""


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    cells = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells]


def mlflow_page(run_id: str | None) -> str | None:
    """The address of a run's page on the server of `make ui`, whether that runs now or not."""
    if not run_id:
        return None
    connection = tracked("find the lineage's page", lambda: tracking().store.connect())
    if connection is None:
        return None
    base = addresses(get_current_settings().home).get("MLflow", f"http://{HOST}:5000")
    return run_page(base, connection[1], run_id)
