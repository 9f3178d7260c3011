"""What every stage does around its work: read parameters, survive signals, resume, track, publish results."""

import contextlib
import ctypes
import errno
import fcntl
import gc
import hashlib
import importlib
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components import params as parameters
from components import schema
from components.data.digests import file_md5, folder_md5
from components.data.records import RecordError
from components.lineage import flatten, is_alive, process_identity, process_session
from components.stage import ARTIFACTS, Pipeline
from components.tracking import PARENT_VARIABLE, SilentTracker, StageTracker

logger = logging.getLogger(__name__)

GRAPH = Path("dvc.yaml")
STATE_ROOT_VARIABLE = "GPTLINEAGE_STATE"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


class StageStopped(RuntimeError):
    """A stage ends for a reason that its message names, with what can be done; its last checkpoint is kept."""


USER_ERRORS = (parameters.ParamsError, RecordError, StageStopped)


@dataclass
class Work:
    """A running stage: its parameters, where it writes, where it keeps what a resumed run needs, its tracker, and its
    inputs by the names that its declaration gives them.

    `scratch` is where this process alone writes while it trains: the state folder, but for the helper processes of
    data-parallel training, which see the checkpoints and keep nothing.
    """

    name: str
    params: schema.Params
    out: Path
    state: Path
    scratch: Path
    tracker: StageTracker
    inputs: Mapping[str, Path]
    metrics: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A path below the stage's output folder."""
        return self.out / name

    def read(self, name: str) -> Path:
        """Where an input lies."""
        return self.inputs[name]


def inputs_of(name: str) -> dict[str, Path]:
    """Where the inputs of a node of the default pipeline lie."""
    pipeline: Pipeline = importlib.import_module("pipelines.default.pipeline").PIPELINE
    return pipeline.nodes[name].reads()


def run_stage(name: str, work: Callable[[Work], None]) -> None:
    """Run a stage as a process of its own, to its end: `python -m components.stages <name>`."""
    logging.basicConfig(level=logging.INFO, format=f"[{name}] %(message)s", stream=sys.stdout)
    quiet_libraries()
    keep_memory()
    _die_with_session()
    signal.signal(signal.SIGTERM, _interrupt)
    begun = time.time()
    try:
        _run(name, work)
    except USER_ERRORS as error:
        raise SystemExit(f"{name}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(f"{name}: stopped; {how_it_goes_on(name)}") from None
    except Exception as error:
        if not _is_full_disk(error):
            raise
        places = _discard(name, begun)
        raise SystemExit(
            f"{name}: the disk is full ({places}); what was half-written is removed. With space there, "
            f"{how_it_goes_on(name)}"
        ) from None
    _leave()


def _run(name: str, work: Callable[[Work], None]) -> None:
    started = time.monotonic()
    tree = parameters.read_tree()
    params = parameters.check(tree, source=str(parameters.PARAMS_FILE))
    state = state_folder(name, tree)
    if _is_helper():
        with tempfile.TemporaryDirectory() as scratch:
            silent = SilentTracker(name, tree, state=state, artifacts=ARTIFACTS)
            _collect_garbage()
            work(Work(name, params, Path(scratch), state, Path(scratch), silent, inputs_of(name)))
        return
    with lease(state):
        state.mkdir(parents=True, exist_ok=True)
        _work(name, work, tree, params, state, started)


def _work(
    name: str, work: Callable[[Work], None], tree: dict[str, Any], params: schema.Params, state: Path, started: float
) -> None:
    out = ARTIFACTS / name
    out.mkdir(parents=True, exist_ok=True)
    with StageTracker(name, tree, state=state, artifacts=ARTIFACTS) as tracker:
        stage = Work(name, params, out, state, state, tracker, inputs_of(name))
        _collect_garbage()
        work(stage)
        duration = time.monotonic() - started
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        tracker.log_metrics({f"{name}/duration_seconds": duration, f"{name}/peak_memory_gib": peak_gib})
        (out / "metrics.json").write_text(json.dumps(stage.metrics, indent=1, sort_keys=True) + "\n")
        tracker.log_summary(stage.metrics)
        logger.info("done in %.0f s, peak memory %.2f GiB", duration, peak_gib)
    (out / "run.json").write_text(json.dumps(tracker.record(duration, peak_gib), indent=1, sort_keys=True) + "\n")
    shutil.rmtree(state)


def _collect_garbage() -> None:
    """Collect garbage from now on, if it was off while modules were loaded; what they hold stays, and is left out."""
    gc.freeze()
    gc.enable()


def _leave() -> None:
    """End a stage that has succeeded at once: taking torch and mlflow apart takes the interpreter 1.6 s.

    All files are closed and all figures sent by then.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _is_helper() -> bool:
    """Whether this is another process of data-parallel training: Lightning starts them with the stage's own command."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def state_root() -> Path:
    """Where unfinished stages keep checkpoints; a flow names it, so that copies of the repository share it."""
    return Path(os.environ.get(STATE_ROOT_VARIABLE, ".lineage/state"))


def state_folder(name: str, tree: dict[str, Any], root: Path = Path()) -> Path:
    """Where the stage keeps what a resumed run of the same work needs; root: the repository, or a copy of it."""
    return state_root() / f"{name}-{fingerprint(name, tree, root)}"


@contextlib.contextmanager
def lease(state: Path) -> Iterator[None]:
    """Hold a state folder, which copies of the repository share; a second stage says whom it waits for, and waits.

    The kernel ends the lease with the process. Afterwards the folder may be gone: the work is then done from the start.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    path = state.with_name(state.name + ".lock")
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        logger.warning("%s is at the same work; waiting for it to finish", file.read().strip() or "another process")
        fcntl.lockf(file, fcntl.LOCK_EX)
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} in {Path.cwd()}")
    file.flush()
    try:
        yield
    finally:
        file.close()


def how_it_goes_on(name: str, root: Path = Path()) -> str:
    """What the same command does after this stage was cut short: only a checkpoint of the same work is gone on from."""
    with contextlib.suppress(OSError, KeyError, parameters.ParamsError):  # no such work any more
        state = state_folder(name, parameters.read_tree(root / parameters.PARAMS_FILE), root)
        if any(not path.name.endswith(".partial") for path in state.glob("step-*")):
            return "the same command goes on from its last checkpoint"
    return f"the same command does {name} again from its start"


def _is_full_disk(error: BaseException | None) -> bool:
    """Whether there was no space to write; safetensors says so in words alone."""
    if error is None:
        return False
    number = getattr(error, "errno", None)
    full = number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)
    return full or _is_full_disk(error.__cause__ or error.__context__)


def _discard(name: str, begun: float) -> str:
    """Remove what this process wrote and left unfinished; the places it wrote to, with the space left there.

    begun: seconds since the epoch.
    """
    out, state = ARTIFACTS / name, state_folder(name, parameters.read_tree())
    for path in [*state.glob("*.partial"), *out.glob("*.partial")]:
        shutil.rmtree(path, ignore_errors=True)
    for path in [path for path in out.rglob("*") if path.is_file() and path.stat().st_mtime >= begun]:
        path.unlink()
    places = [place for place in (out, state) if place.exists()]
    return ", ".join(f"{place.resolve()}: {shutil.disk_usage(place).free / 2**20:.0f} MiB free" for place in places)


def fingerprint(name: str, tree: dict[str, Any], root: Path = Path()) -> str:
    """Identity of a stage's work: its code, inputs and parameters as `dvc.yaml` declares them.

    A checkpoint is only ever resumed under the identity it was written under.
    """
    declared = yaml.safe_load((root / GRAPH).read_text())["stages"][name]
    leaves = dict(flatten(tree, separator="."))
    wanted = declared.get("params", [])
    parts: list[Any] = [
        {key: value for key, value in leaves.items() if any(key == w or key.startswith(w + ".") for w in wanted)}
    ]
    for dep in map(Path, declared["deps"]):
        found = root / dep
        parts.append((str(dep), folder_md5(found) if found.is_dir() else file_md5(found)))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _die_with_session() -> None:
    """Stop when the `dvc` above this process is gone, so that no orphan goes on training and writing outputs.

    A thread looks once a second: the kernel can tell of a parent's death, but the parent is a shell that survives.
    """
    session = process_session()
    if session == process_identity():
        if not {PARENT_VARIABLE, "DVC_STAGE"}.isdisjoint(os.environ):  # killed while this process was still importing
            raise SystemExit("the command that started this stage is gone")
        return

    def watch() -> None:
        while is_alive(session):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)  # nothing is lost: checkpoints are whole, and a library may hold SIGTERM

    threading.Thread(target=watch, daemon=True).start()


def keep_memory() -> None:
    """Have glibc keep what is freed: a step frees and takes the same large blocks, whose pages the kernel clears anew.

    On two cores that was a fifth of an uncompiled training step (LOG.md).
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        allocator = ctypes.CDLL("libc.so.6")
        allocator.mallopt(M_MMAP_MAX, 0)
        allocator.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def quiet_libraries() -> None:
    """Leave warnings and worse of libraries that comment on everything."""
    for noisy in ("lightning", "lightning.pytorch", "mlflow", "matplotlib", "httpx", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for module in ("lightning", "mlflow"):
        warnings.filterwarnings("ignore", module=module)
