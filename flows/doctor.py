"""Whether this repository can work here: a line a matter, and what to do where there is a problem.

python -m flows.doctor [--prefect-port 4200] [--mlflow-port 5000]

Ends with 1 where something would stop a flow.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from components import params as parameters
from components.loopback import spare_loopback
from components.pipelines import DEFAULT, PipelineError, names, open_pipeline
from components.store_location import StoreError, database_of, tracking_uri
from flows.checks import SetupError, check_place
from flows.server import HOST, ServerError, must_answer, serves
from flows.ui import is_taken

LEAST_FREE_GIB = 2.0
OLDEST_PYTHON = (3, 11)


class Finding(NamedTuple):
    """What was looked at and found; `blocks` says whether a flow would be stopped by it."""

    matter: str
    ok: bool
    words: str
    blocks: bool = True


def findings(root: Path, prefect_port: int, mlflow_port: int) -> Iterator[Finding]:
    """Look at everything, one matter at a time; nothing is written or started."""
    yield _interpreter()
    yield _packages(root)
    yield _asked("place and git", lambda: check_place(root), "ok")
    for name in names(root):
        what = "params.yaml" if name == DEFAULT else f"pipeline {name}"
        yield _asked(what, lambda name=name: parameters.load(open_pipeline(name, root), root), "ok")  # type: ignore[misc]
    yield _space(root)
    yield _cache(root)
    yield _data(root)
    yield _mlflow(root)
    yield _prefect_home(root)
    yield _prefect_server(root, prefect_port)
    yield _port("MLflow's port", mlflow_port)


def _asked(matter: str, ask: Callable[[], object], good: str) -> Finding:
    try:
        ask()
    except (SetupError, ServerError, StoreError, PipelineError, parameters.ParamsError) as error:
        return Finding(matter, False, str(error))
    return Finding(matter, True, good)


def _interpreter() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= OLDEST_PYTHON
    return Finding("interpreter", ok, f"Python {version}" + ("" if ok else ": 3.11 or newer is needed, make setup"))


def _packages(root: Path) -> Finding:
    """Packages that are named in pyproject.toml, against the versions of constraints.txt."""
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", (root / "constraints.txt").read_text(), re.MULTILINE))
    named = re.search(r"^dependencies = \[(.*?)^\]", (root / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    wanted = re.findall(r'"([A-Za-z0-9_.-]+)', named[1] if named else "")
    missing, other = [], []
    for name in wanted:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found.partition("+")[0] != pinned.get(name, found).partition("+")[0]:
            other.append(f"{name} {found} instead of {pinned[name]}")
    if missing:
        return Finding("packages", False, f"missing: {', '.join(missing)}: make setup")
    if other:
        return Finding("packages", False, f"{', '.join(other)}: make setup, for the figures of README", blocks=False)
    return Finding("packages", True, f"{len(wanted)}, as pinned")


def _space(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 2**30
    ok = free >= LEAST_FREE_GIB
    out = "" if ok else ": python -m flows.variants lists what can go; dvc gc --workspace empties the cache"
    return Finding("space", ok, f"{free:.1f} GiB free at {root}{out}")


def _cache(root: Path) -> Finding:
    from dvc.config import Config, ConfigError  # noqa: PLC0415 (as in flows.graph)

    try:
        folder = Path(Config(str(root / ".dvc"))["cache"].get("dir") or root / ".dvc" / "cache")
    except ConfigError as error:
        return Finding("DVC's cache", False, f"DVC's settings cannot be read: {error}")
    return _writable("DVC's cache", folder)


def _writable(matter: str, folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    ok = there.is_dir() and os.access(there, os.W_OK)
    return Finding(matter, ok, str(folder) + ("" if ok else f": {there} cannot be written; chown or chmod it"))


def _data(root: Path) -> Finding:
    there = (root / "data").exists()
    return Finding("data", True, "data/" if there else "none yet; the first flow brings it", blocks=False)


def _mlflow(root: Path) -> Finding:
    try:
        uri = tracking_uri()
    except StoreError as error:
        return Finding("MLflow's store", False, str(error), blocks=False)
    database = database_of(uri)
    if database is None:
        return _asked("MLflow's store", lambda: must_answer(uri, "MLFLOW_TRACKING_URI"), uri)._replace(blocks=False)
    return _database("MLflow's store", database)._replace(blocks=False)


def _prefect_home(root: Path) -> Finding:
    return _database("Prefect's home", root / ".prefect" / "prefect.db")


def _database(matter: str, path: Path) -> Finding:
    writable = _writable(matter, path.parent)
    if not writable.ok or not path.exists():
        return writable
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
        database.close()
    except sqlite3.Error as error:
        return Finding(matter, False, f"{path} cannot be read ({error}): move it away; a new one is made")
    return Finding(matter, os.access(path, os.W_OK), str(path) + ("" if os.access(path, os.W_OK) else " is read-only"))


def _prefect_server(root: Path, port: int) -> Finding:
    given = os.environ.get("PREFECT_API_URL")
    if given:
        return _asked("Prefect's server", lambda: must_answer(given), f"PREFECT_API_URL={given}")
    if serves(f"http://{HOST}:{port}", (root / ".prefect").resolve()):
        return Finding("Prefect's server", True, f"that of make ui, http://{HOST}:{port}")
    return _port("Prefect's port", port)


def _port(matter: str, port: int) -> Finding:
    if not is_taken(port):
        return Finding(matter, True, f"{port} is free for make ui")
    name = matter.partition("'")[0].upper()
    return Finding(matter, False, f"{port} is taken, by make ui or another: make ui {name}_PORT=...", blocks=False)


def main() -> None:
    """Print what is found; exit with 1 where something blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    arguments = parser.parse_args()
    spare_loopback()
    found = []
    for finding in findings(Path.cwd(), arguments.prefect_port, arguments.mlflow_port):
        verdict = "ok" if finding.ok else "PROBLEM" if finding.blocks else "note"
        print(f"{verdict:8}{finding.matter:18}{finding.words}", flush=True)
        found.append(finding)
    sys.exit(any(finding.blocks and not finding.ok for finding in found))


if __name__ == "__main__":
    main()
