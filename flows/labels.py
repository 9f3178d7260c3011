"""People's labels as a raw input: brought by DVC where `labels.dvc` names them; a node without them waits."""

from pathlib import Path

import networkx

from flows.graph import dvc, has_remote, is_changed
from flows.workspace import Workspace

LABELS, POINTER = Path("labels"), Path("labels.dvc")


def bring(workspace: Workspace) -> None:
    """Check out the labels that are recorded where they do not lie here; a variant follows the repository's."""
    if not workspace.pipeline.labels or not (workspace.root / POINTER).exists():
        return
    is_stale = workspace.is_variant and is_changed(workspace.root, str(POINTER))
    if is_stale or not (workspace.root / LABELS).exists():
        how = "pull" if has_remote(workspace.root) else "checkout"
        dvc(workspace, how, *(["--force"] if workspace.is_variant else []), str(POINTER), check=False)


def waiting(workspace: Workspace, graph: "networkx.DiGraph[str]") -> set[str]:
    """The nodes that wait for people's answers: those whose labels are not there, and what follows them."""
    lacking = {node for node, path in workspace.pipeline.labels.items() if not (workspace.root / path).exists()}
    return lacking.union(*(networkx.descendants(graph, node) for node in lacking))
