"""What a flow would do and why, as DVC sees it; nothing runs and no server is started."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import networkx
import yaml

from flows import labels
from flows.graph import judge, select
from flows.workspace import Workspace, refresh

WIDTH = 80
SHOWN = 3  # files that are named
LONGEST = 40  # characters of a value that is shown


def print_plan(workspace: Workspace, *, until: str | None, start: str | None, force: Sequence[str]) -> None:
    """Print a line a stage: whether it would run, and what has changed."""
    if workspace.is_variant and not workspace.root.exists():
        print(f"A new copy of the repository: {workspace.root.relative_to(workspace.home)}")
    with workspace.exclusive(print):
        refresh(workspace)
        print(f"  {'ingest':10}{_ingest(workspace, force)}")
        if until == "ingest":
            return
        judged = judge(workspace.root, workspace.pipeline.graph_file)
        stages = select(judged.graph, until=until, start=start)
        if not stages:
            print(f"  nothing lies between {start} and {until}")
        waiting = labels.waiting(workspace, judged.graph)
        why = reasons(judged.graph, stages, judged.changed, force, _values(workspace))
        room = max([8, *map(len, stages)]) + 2  # "ingest" stands in a column of 10
        for stage in stages:
            nothing = "comes from the cache" if stage in judged.missing else "nothing to do"
            words = "waits for people's answers" if stage in waiting else "; ".join(why[stage]) or nothing
            begin, below = f"  {stage:{room}}", " " * (room + 2)
            print(textwrap.fill(words, WIDTH, initial_indent=begin, subsequent_indent=below))


def _ingest(workspace: Workspace, force: Sequence[str]) -> str:
    if "ingest" in force:
        return "builds the data: --force"
    data = workspace.root if workspace.has_own_data else workspace.home
    folder = workspace.pipeline.data
    return f"checks {folder}/ against its source" if (data / folder).exists() else f"brings {folder}/, which is missing"


def reasons(
    graph: "networkx.DiGraph[str]",
    stages: Sequence[str],
    changed: Mapping[str, Any],
    force: Sequence[str],
    values: Mapping[str, tuple[Any, Any]],
) -> dict[str, list[str]]:
    """For each stage, in order, why it would run; none is a stage with nothing to compute.

    Args:
        graph: edges from a stage to those that use its outputs.
        stages: names, those that come first first.
        changed: what differs, as `dvc status` says it, for stages that DVC would run.
        force: stages that run in any case.
        values: parameters by name, before and now.
    """
    why: dict[str, list[str]] = {}
    for stage in stages:
        own = ["--force"] if stage in force else []
        own += _changes(changed[stage], values) or ["what it uses or makes is another"] if stage in changed else []
        if own:
            own[0] = f"runs: {own[0]}"
        after = [name for name in graph.predecessors(stage) if why.get(name)]
        why[stage] = own or ([f"runs if its inputs change: {', '.join(sorted(after))}"] if after else [])
    return why


def _changes(entries: Any, values: Mapping[str, tuple[Any, Any]]) -> list[str]:
    found: list[str] = []
    code, outputs = [], []
    for entry in entries:
        if isinstance(entry, str):  # "always changed" and the like
            found.append(entry)
            continue
        for kind, files in entry.items():
            for path, what in files.items() if isinstance(files, Mapping) else ():
                if isinstance(what, Mapping):  # parameters
                    for name, change in what.items():
                        found += _parameter(name, change, values)
                elif kind == "changed outs":
                    outputs += [path] if what != "deleted" else []
                elif path.endswith(".py"):
                    code.append(path)
                elif what != "deleted" or not path.startswith(("artifacts/", "data")):
                    found.append(f"{path} is {what}")
    found += [f"other code: {_listed(code)}"] if code else []
    return found + ([f"outputs are changed or not in the cache: {_listed(outputs)}"] if outputs else [])


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


def _parameter(name: str, change: str, values: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """DVC names a section where one of its values has changed."""
    within = {key: pair for key, pair in sorted(values.items()) if key == name or key.startswith(name + ".")}
    for key, (before, now) in within.items():
        short = max(len(str(before)), len(str(now))) <= LONGEST
        yield f"{key} was {before}, is {now}" if short else f"{key} is another"
    if not within:
        yield f"{name} is {change}"


def _values(workspace: Workspace) -> dict[str, tuple[Any, Any]]:
    """Parameters that DVC's lock file knows, by name: as they were, as they are."""
    lock = (workspace.root / workspace.pipeline.graph_file).with_suffix(".lock")
    recorded = yaml.safe_load(lock.read_text()) if lock.exists() else {}
    found: dict[str, tuple[Any, Any]] = {}
    for stage in (recorded or {}).get("stages", {}).values():
        for name, before in stage.get("params", {}).get(str(workspace.params_file), {}).items():
            found |= dict(_differences(name, before, _look_up(workspace.tree, name)))
    return found


def _look_up(tree: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in before.keys() | now.keys():
            yield from _differences(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield name, (before, now)
