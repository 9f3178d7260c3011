"""The graph as DVC has it, judged by what DVC finds. Nothing here decides what must run; DVC does."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx

from flows.workspace import Workspace


def _open(root: Path) -> Any:
    """The DVC repository at a folder; dvc is imported at first use, which passes while Prefect's server starts."""
    from dvc.repo import Repo  # noqa: PLC0415

    return Repo(str(root))


@dataclass(frozen=True)
class Judgement:
    """The graph's stages, judged by code, parameters and dvc.lock: what they use and make need not lie on this machine.

    `changed` has what differs, as `dvc status` says it, for stages that DVC would run. `missing` are those that are as
    dvc.lock has them but for outputs that do not lie here and come from the cache, or from a remote.
    """

    graph: "networkx.DiGraph[str]"  # an edge from each stage to every stage that uses its outputs
    changed: Mapping[str, list[Any]]
    missing: frozenset[str]

    @property
    def stale(self) -> set[str]:
        """Stages that must be computed or, where they follow such a stage, at least be asked about after it."""
        return set(self.changed).union(*(networkx.descendants(self.graph, stage) for stage in self.changed))


def judge(root: Path, file: Path) -> Judgement:
    """Tell which stages of a graph's file DVC would not skip."""
    from dvc.repo import lock_repo  # noqa: PLC0415 (as in _open)
    from dvc.stage import PipelineStage  # noqa: PLC0415

    with _open(root) as repo, lock_repo(repo):
        graph = repo.index.graph  # edges point from a stage to what it depends on
        made = {out.fs_path: out for stage in graph for out in stage.outs}
        remote = bool(repo.config["core"].get("remote"))
        named: networkx.DiGraph[str] = networkx.DiGraph()
        changed: dict[str, list[Any]] = {}
        missing: set[str] = set()
        own = {each for each in graph if isinstance(each, PipelineStage) and each.path_in_repo == str(file)}
        for stage in sorted(own, key=lambda each: str(each.name)):
            named.add_node(stage.name)
            named.add_edges_from((up.name, stage.name) for up in graph[stage] if up in own)
            differs, is_missing = _differences(stage, made, remote=remote)
            if differs:
                changed[stage.name] = differs
            elif is_missing:
                missing.add(stage.name)
        return Judgement(named, changed, frozenset(missing))


def _differences(stage: Any, made: Mapping[str, Any], *, remote: bool) -> tuple[list[Any], bool]:
    """What differs from dvc.lock in a stage's status, and whether outputs are missing.

    `Stage.changed(allow_missing=True)` is not it: to DVC a deleted source file is no change then, nor is an edited
    output that the cache has lost, nor one that dvc.lock has never had.
    """
    inputs, outputs = ({str(each): each for each in some} for some in (stage.deps, stage.outs))
    differs: list[Any] = []
    is_missing = False
    for entry in next(iter(stage.status().values()), []):
        if isinstance(entry, str):  # "changed command" and the like
            differs.append(entry)
            continue
        for kind, paths in entry.items():
            if kind == "changed outs":
                left = {path: what for path, what in paths.items() if not _comes_back(outputs[path], remote=remote)}
                is_missing |= len(left) < len(paths)
            else:
                left = {
                    path: what for path, what in paths.items() if not _vouched_for(inputs[path], made, remote=remote)
                }
            differs += [{kind: left}] if left else []
    return differs, is_missing


def _vouched_for(dep: Any, made: Mapping[str, Any], *, remote: bool) -> bool:
    """Whether an input that does not lie here is, by what is recorded of its maker, the one that was used before.

    What a folder holds is known where the cache has its listing; else a remote, where one is set, is taken to have it.
    """
    if dep.exists or not dep.hash_info:
        return False
    maker = next((out for path, out in made.items() if dep.fs.isin_or_eq(dep.fs_path, path)), None)
    if maker is None or not maker.hash_info:
        return False
    if maker.fs_path == dep.fs_path:
        return bool(maker.hash_info == dep.hash_info)
    if maker.get_obj() is None:
        return remote
    found = maker.get_obj(filter_info=dep.fs_path)
    return found is not None and bool(found.hash_info == dep.hash_info)


def _comes_back(out: Any, *, remote: bool) -> bool:
    """Whether DVC brings an output without running its stage; a remote, where one is set, is taken to hold it."""
    if not out.hash_info:
        return False
    cached = not out.changed_cache() if out.use_cache else out.cache.exists(out.hash_info.value)
    if not out.exists:
        return bool(cached or remote)
    return bool(out.use_cache and not cached and remote and not out.changed_checksum())


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
