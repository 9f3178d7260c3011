"""The graph as DVC has it. Nothing here decides what must run; DVC does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx

from flows.workspace import Workspace


def _open(root: Path) -> Any:
    """The DVC repository at a folder; dvc is imported at first use, which passes while Prefect's server starts."""
    from dvc.repo import Repo  # noqa: PLC0415

    return Repo(str(root))


def stage_graph(root: Path) -> tuple["networkx.DiGraph[str]", set[str]]:
    """Stage names with an edge from each stage to every stage that uses its outputs; those that DVC would not skip.

    A stage is judged by its present inputs, parameters and outputs.
    """
    from dvc.stage import PipelineStage  # noqa: PLC0415 (as in _open)

    with _open(root) as repo:
        graph = repo.index.graph  # edges point from a stage to what it depends on
        named: networkx.DiGraph[str] = networkx.DiGraph()
        for stage in graph.nodes:
            if isinstance(stage, PipelineStage):
                named.add_node(stage.name)
                named.add_edges_from((up.name, stage.name) for up in graph[stage] if isinstance(up, PipelineStage))
        return named, {name.split(":")[-1] for name in repo.status()}


def status(root: Path) -> dict[str, Any]:
    """What DVC finds changed, by stage; as `dvc status` says it."""
    with _open(root) as repo:
        return {name.split(":")[-1]: entries for name, entries in repo.status().items()}


def is_changed(root: Path, target: str) -> bool:
    """Whether what a `.dvc` file tracks differs from what it records, or is missing."""
    with _open(root) as repo:
        return bool(repo.status(targets=[str(root / target)]))


def select(graph: "networkx.DiGraph[str]", *, until: str | None, start: str | None) -> list[str]:
    """Stage names in the order they run: all, those up to `until`, those from `start`, or those between.

    Raises:
        ValueError: a name is not in the graph.
    """
    chosen = set(graph.nodes)
    for name, reach in ((until, networkx.ancestors), (start, networkx.descendants)):
        if name is not None:
            if name not in graph:
                raise ValueError(f"no stage {name!r}; the stages are {', '.join(networkx.topological_sort(graph))}")
            chosen &= reach(graph, name) | {name}
    return [name for name in networkx.lexicographical_topological_sort(graph) if name in chosen]


def has_remote(root: Path) -> bool:
    """Whether a default DVC remote is configured."""
    with _open(root) as repo:
        return bool(repo.config["core"].get("remote"))


def dvc(workspace: Workspace, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a short DVC command in the workspace.

    Raises:
        CalledProcessError: it failed, and check was asked for.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=workspace.root, env=workspace.environment(), check=check, capture_output=True, text=True
    )
