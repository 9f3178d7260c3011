"""What each module of the project imports, read from its source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# They watch a stage: what they do shows in run.json, MLflow and the terminal, not in models and figures. Were they
# dependencies, a reworded log line would retrain a model.
OBSERVERS = {
    "components/tracking.py",
    "components/mlflow_store.py",
    "components/store_location.py",
    "components/lineage.py",
    "components/loopback.py",
    "components/lineage_run.py",
    "components/provenance.py",
    "components/headlines.py",
    "components/pages.py",
    "components/views.py",
    "components/progress.py",
    "components/metric_buffer.py",
    "components/figures.py",
}


def modules(folder: str) -> list[Path]:
    """Python files of a top-level folder."""
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def project_files(path: Path) -> set[Path]:
    """Files of `components` that a file imports directly."""
    candidates = (ROOT / (name.replace(".", "/") + ".py") for name in imported(path) if name.startswith("components"))
    return {candidate for candidate in candidates if candidate.exists()}


def closure(path: Path) -> set[str]:
    """Project files that running a file executes, itself included; observers, and what they alone use, left out."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in seen or str(current.relative_to(ROOT)) in OBSERVERS:
            continue
        seen.add(current)
        waiting += project_files(current)
    return {str(found.relative_to(ROOT)) for found in seen}
