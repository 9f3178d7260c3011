"""What every stage does around its work: read parameters, survive signals, resume, track, publish results."""

import contextlib
import errno
import fcntl
import hashlib
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import yaml

from components import params as parameters
from components import process
from components.data.digests import file_md5, folder_md5
from components.data.records import RecordError
from components.lineage import flatten, is_alive, process_identity, process_session
from components.pipelines import OpenPipeline
from components.tracking import PARENT_VARIABLE, SilentTracker, StageTracker

if TYPE_CHECKING:
    from components.gates import Gates
    from components.models.section import Model
    from components.sections.compute import Compute
    from components.sections.generation import Generation
    from components.sections.limits import Limits

logger = logging.getLogger(__name__)
Section = TypeVar("Section")

STATE_ROOT_VARIABLE = "GPTLINEAGE_STATE"


class StageStopped(RuntimeError):
    """A stage ends for a reason that its message names, with what can be done; its last checkpoint is kept."""


USER_ERRORS = (parameters.ParamsError, RecordError, StageStopped)


class _Declared:
    """A shared section of which a stage reads no more than it declares: DVC would not see the rest change."""

    def __init__(self, node: str, name: str, section: Any, keys: frozenset[str]) -> None:
        self._node, self._name, self._section, self._keys = node, name, section, keys

    def __getattr__(self, key: str) -> Any:
        if key not in self._keys:
            raise AttributeError(f"{self._node} reads {self._name}.{key}, which its stage does not declare as shared")
        return getattr(self._section, key)


@dataclass
class Work(Generic[Section]):
    """A running stage: its parameters, its inputs by the names that its declaration gives them, where it writes, where
    it keeps what a resumed run needs, and its tracker.

    `scratch` is where this process alone writes while it trains: the state folder, but for the helper processes of
    data-parallel training, which see the checkpoints and keep nothing.
    """

    name: str
    pipeline: OpenPipeline
    section: Section
    shared: Mapping[str, Any]
    out: Path
    state: Path
    scratch: Path
    tracker: StageTracker
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, dict[str, Path]]:
        """Where what feeds each input lies, by the node that made it."""
        return self.pipeline.inputs(self.name)

    def path(self, name: str) -> Path:
        """A path below the stage's output folder."""
        return self.out / name

    def read(self, name: str) -> Path:
        """Where an input lies that is one artifact."""
        (path,) = self.inputs[name].values()
        return path

    def read_all(self, name: str) -> dict[str, Path]:
        """Where the artifacts of an input lie that is fed several, by the node that made each."""
        return self.inputs[name]

    @property
    def seed(self) -> int:
        """The pipeline's seed, plus the stage's own offset where it has one."""
        return int(self._declared("seed")) + int(getattr(self.section, "seed_offset", 0))

    @property
    def compute(self) -> "Compute":
        """How the arithmetic is done."""
        return cast("Compute", self._declared("compute"))

    @property
    def generation(self) -> "Generation":
        """How replies are sampled."""
        return cast("Generation", self._declared("generation"))

    @property
    def limits(self) -> "Limits":
        """How many tokens texts may have."""
        return cast("Limits", self._declared("limits"))

    @property
    def model(self) -> "Model":
        """Which language model is pretrained."""
        return cast("Model", self._declared("model"))

    @property
    def gates(self) -> "Gates":
        """Bounds that models must keep, by the node that makes them."""
        return cast("Gates", self._declared("gates"))

    def _declared(self, name: str) -> Any:
        declared = self.pipeline.stages[self.name].shared
        if name in declared:
            return self.shared[name]
        keys = frozenset(key.partition(".")[2] for key in declared if key.partition(".")[0] == name)
        return _Declared(self.name, name, self.shared.get(name), keys)


def run_stage(name: str, pipeline: OpenPipeline) -> None:
    """Run a node as a process of its own, to its end: `python -m components.stages <name>`."""
    logging.basicConfig(level=logging.INFO, format=f"[{name}] %(message)s", stream=sys.stdout)
    quiet_libraries()
    process.keep_memory()
    _die_with_session()
    signal.signal(signal.SIGTERM, _interrupt)
    begun = time.time()
    try:
        _run(name, pipeline)
    except USER_ERRORS as error:
        raise SystemExit(f"{name}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(f"{name}: stopped; {how_it_goes_on(name, pipeline)}") from None
    except Exception as error:
        if not _is_full_disk(error):
            raise
        places = _discard(name, pipeline, begun)
        raise SystemExit(
            f"{name}: the disk is full ({places}); what was half-written is removed. With space there, "
            f"{how_it_goes_on(name, pipeline)}"
        ) from None
    process.leave()


def _run(name: str, pipeline: OpenPipeline) -> None:
    started = time.monotonic()
    tree = parameters.read_tree(pipeline.params_file)
    section, shared = parameters.of_node(tree, pipeline, name)
    state = state_folder(name, pipeline, tree)
    if _is_helper():
        with tempfile.TemporaryDirectory() as scratch:
            silent = SilentTracker(name, pipeline, tree, state=state)
            process.collect_again()
            work = Work(name, pipeline, section, shared, Path(scratch), state, Path(scratch), silent)
            pipeline.stages[name].run(work)
        return
    with lease(state):
        state.mkdir(parents=True, exist_ok=True)
        out = pipeline.artifacts / name
        out.mkdir(parents=True, exist_ok=True)
        with StageTracker(name, pipeline, tree, state=state) as tracker:
            work = Work(name, pipeline, section, shared, out, state, state, tracker)
            duration, peak_gib = _measured(work, started)
        (out / "run.json").write_text(json.dumps(tracker.record(duration, peak_gib), indent=1, sort_keys=True) + "\n")
        shutil.rmtree(state)


def _measured(work: Work[Any], started: float) -> tuple[float, float]:
    """Do the work and publish its figures; its seconds since the start, and its peak memory in GiB."""
    process.collect_again()
    work.pipeline.stages[work.name].run(work)
    duration = time.monotonic() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    work.tracker.log_metrics({f"{work.name}/duration_seconds": duration, f"{work.name}/peak_memory_gib": peak_gib})
    work.path("metrics.json").write_text(json.dumps(work.metrics, indent=1, sort_keys=True) + "\n")
    work.tracker.log_summary(work.metrics)
    logger.info("done in %.0f s, peak memory %.2f GiB", duration, peak_gib)
    return duration, peak_gib


def _is_helper() -> bool:
    """Whether this is another process of data-parallel training: Lightning starts them with the stage's own command."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def state_root() -> Path:
    """Where unfinished stages keep checkpoints; a flow names it, so that copies of the repository share it."""
    return Path(os.environ.get(STATE_ROOT_VARIABLE, ".lineage/state"))


def state_folder(name: str, pipeline: OpenPipeline, tree: dict[str, Any], root: Path = Path()) -> Path:
    """Where a node keeps what a resumed run of the same work needs; root: the repository, or a copy of it."""
    return state_root() / f"{name}-{fingerprint(name, pipeline, tree, root)}"


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


def how_it_goes_on(name: str, pipeline: OpenPipeline, root: Path = Path()) -> str:
    """What the same command does after this stage was cut short: only a checkpoint of the same work is gone on from."""
    with contextlib.suppress(OSError, KeyError, parameters.ParamsError):  # no such work any more
        state = state_folder(name, pipeline, parameters.read_tree(root / pipeline.params_file), root)
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


def _discard(name: str, pipeline: OpenPipeline, begun: float) -> str:
    """Remove what this process wrote and left unfinished; the places it wrote to, with the space left there.

    begun: seconds since the epoch.
    """
    tree = parameters.read_tree(pipeline.params_file)
    out, state = pipeline.artifacts / name, state_folder(name, pipeline, tree)
    for path in [*state.glob("*.partial"), *out.glob("*.partial")]:
        shutil.rmtree(path, ignore_errors=True)
    for path in [path for path in out.rglob("*") if path.is_file() and path.stat().st_mtime >= begun]:
        path.unlink()
    places = [place for place in (out, state) if place.exists()]
    return ", ".join(f"{place.resolve()}: {shutil.disk_usage(place).free / 2**20:.0f} MiB free" for place in places)


def fingerprint(name: str, pipeline: OpenPipeline, tree: dict[str, Any], root: Path = Path()) -> str:
    """Identity of a node's work: its code and inputs as its entry in the graph declares them, and its parameters.

    A checkpoint is only ever resumed under the identity it was written under.
    """
    declared = yaml.safe_load((root / pipeline.graph_file).read_text())["stages"][name]
    leaves, wanted = dict(flatten(tree, separator=".")), pipeline.param_keys(name)
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


def quiet_libraries() -> None:
    """Leave warnings and worse of libraries that comment on everything."""
    for noisy in ("lightning", "lightning.pytorch", "mlflow", "matplotlib", "httpx", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for module in ("lightning", "mlflow"):
        warnings.filterwarnings("ignore", module=module)
