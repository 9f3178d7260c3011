"""What ties a stage to the rest of its lineage: its record, its figures, its parents, and who asked for it."""

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

import psutil

from components.pipelines import ARTIFACTS

ROOT_VARIABLE = "GPTLINEAGE_ROOT"
EXPERIMENT_VARIABLE = "DVC_EXP_NAME"  # set by `dvc exp run`
COPIES = {"variants", "reproduce"}  # folders below .lineage/ that hold copies of the repository
CANDIDATE, CHAMPION = "candidate", "champion"


class Verdict(TypedDict):
    """What `evaluate` found about the model of a run: `passed`, or which bounds do not hold."""

    verdict: str
    run_id: str | None


@dataclass(frozen=True)
class StageRecord:
    """A node's `run.json`: the tracked run that made its present outputs.

    It is an output of its own, on which nothing depends, so that a new run of equal weights re-runs nothing.
    """

    stage: str
    run_id: str | None
    model_name: str | None
    model_version: str | None
    tracking: str
    duration_seconds: float
    peak_memory_gib: float
    alias: str | None = None  # under which the version was registered
    gates: Mapping[str, "Verdict"] = field(default_factory=dict)  # evaluate's, by node

    @classmethod
    def load(cls, stage: str, artifacts: Path = ARTIFACTS) -> "StageRecord | None":
        """The record of a stage, or None where it has not run."""
        path = artifacts / stage / "run.json"
        if not path.exists():
            return None
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in json.loads(path.read_text()).items() if key in known})

    @property
    def address(self) -> str | None:
        """The registered version, such as `models:/gpt-ppo/3`."""
        return f"models:/{self.model_name}/{self.model_version}" if self.model_version else None


def recorded_gates(nodes: Iterable[str], artifacts: Path) -> dict[str, Verdict]:
    """What some evaluating nodes found about models, by the nodes that made those."""
    records = (StageRecord.load(node, artifacts) for node in nodes)
    return {name: verdict for record in records if record for name, verdict in record.gates.items()}


def read_evaluation(nodes: Iterable[str], artifacts: Path) -> dict[str, Any]:
    """The figures of some evaluating nodes together, of the first that has each; empty where none has run."""
    paths = [artifacts / node / "metrics.json" for node in nodes]
    found: dict[str, Any] = {}
    for path in reversed(paths):
        if path.exists():
            for key, value in json.loads(path.read_text()).items():
                found[key] = found.get(key, {}) | value if isinstance(value, dict) else value
    return found


def read_metrics(stage: str, artifacts: Path = ARTIFACTS) -> dict[str, float]:
    """A stage's final figures by name, `<stage>/<...>`; empty where it has not run."""
    path = artifacts / stage / "metrics.json"
    return numbers(json.loads(path.read_text()), prefix=stage) if path.exists() else {}


def flatten(tree: Mapping[str, Any], *, separator: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a nested mapping with their joined keys."""
    for key, value in tree.items():
        name = f"{prefix}{separator}{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from flatten(value, separator=separator, prefix=name)
        else:
            yield name, value


def numbers(tree: Mapping[str, Any], *, prefix: str) -> dict[str, float]:
    """The numeric leaves of a nested mapping as metrics, keys joined by slashes."""
    leaves = flatten(tree, separator="/", prefix=prefix)
    return {name: float(value) for name, value in leaves if isinstance(value, int | float)}


def home() -> Path:
    """The repository whose store, aliases and history count here: this folder, or the one that this is a copy of.

    A flow names it to the stages of a variant, DVC to those of an experiment in a temporary copy.
    """
    named = os.environ.get(ROOT_VARIABLE) or (os.environ.get("DVC_ROOT") if EXPERIMENT_VARIABLE in os.environ else None)
    here = Path(named or ".").resolve()
    for copy in () if named else (here, *here.parents):  # somebody works in a copy by hand
        if copy.parent.name in COPIES and copy.parents[1].name == ".lineage":
            return copy.parents[2]
    return here


def alias_of(workspace: Path = Path()) -> str:
    """The alias of the newest models of a workspace: `candidate` for the repository itself, a variant has its own.

    The own alias of a variant or a DVC experiment is `candidate-<its name>`, in the characters that MLflow allows.
    """
    here, name = workspace.resolve(), os.environ.get(EXPERIMENT_VARIABLE)
    if name is None:
        if here == home():
            return CANDIDATE
        name = here.name
    return f"{CANDIDATE}-{re.sub(r'[^A-Za-z0-9_-]', '-', name)}"


def process_session() -> str:
    """Identity of the command that asked for this stage: the `dvc` process above it, or the stage's own process.

    Stages of one `dvc repro` share it, which is how they find their common parent run.
    """
    own = psutil.Process()
    for process in own.parents():
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if any(Path(argument).name == "dvc" for argument in arguments[:3]) or "dvc" in arguments[1:3]:
            return process_identity(process)
    return process_identity(own)


def process_identity(process: psutil.Process | None = None) -> str:
    """Host, boot, process id and start of a process, by default this one, which together are never used twice.

    The start is counted in ticks since the boot, so that a clock which is set does not change it.
    """
    process = process or psutil.Process()
    return "|".join((socket.gethostname(), boot_id(), str(process.pid), _start(process.pid)))


def is_alive(identity: str) -> bool:
    """Whether the process of `process_identity` still runs; one of another host counts as running.

    A process that ended and that its parent has not asked about yet is dead; so is one of this host's earlier boots.
    """
    try:
        host, boot, pid, start = identity.split("|")
        if boot != boot_id():
            return host != socket.gethostname() or boot.partition("/")[0] == boot_id().partition("/")[0]
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE and _start(int(pid)) == start
    except (psutil.Error, OSError, ValueError):
        return False


def boot_id() -> str:
    """This start of the machine and, after a slash, the space in which processes are numbered, a container's own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}"
    except OSError:  # no Linux
        return "unknown"


def _start(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return f"{psutil.Process(pid).create_time():.2f}"  # gone, which psutil says, or no Linux
    return stat.rpartition(")")[2].split()[19]  # field 22 of proc(5); a name in brackets may hold anything
