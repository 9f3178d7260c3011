"""What every stage does around its work: read parameters, survive signals, resume, track, publish results."""

import errno
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
from pathlib import Path
from typing import Any

from components import params as parameters
from components import process
from components.data.records import RecordError
from components.lineage import is_alive, process_identity, process_session
from components.pipelines import OpenPipeline
from components.state import how_it_goes_on, lease, state_folder
from components.tracking import PARENT_VARIABLE, SilentTracker, StageTracker
from components.work import Work

logger = logging.getLogger(__name__)


class StageStopped(RuntimeError):
    """A stage ends for a reason that its message names, with what can be done; its last checkpoint is kept."""


USER_ERRORS = (parameters.ParamsError, RecordError, StageStopped)


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
        record = tracker.record(duration, peak_gib, work.rates.totals())
        (out / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(state)


def _measured(work: Work[Any], started: float) -> tuple[float, float]:
    """Do the work and publish its figures; its seconds since the start, and its peak memory in GiB."""
    process.collect_again()
    work.pipeline.stages[work.name].run(work)
    duration = time.monotonic() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rates = work.rates.totals()
    whole = {"duration_seconds": duration, "peak_memory_gib": peak_gib}
    whole |= {name.replace("/", "_"): rate for name, rate in rates.items()}
    work.tracker.log_metrics({f"{work.name}/{name}": value for name, value in whole.items()})
    work.path("metrics.json").write_text(json.dumps(work.metrics, indent=1, sort_keys=True) + "\n")
    work.tracker.log_summary(work.metrics)
    logger.info("done in %.0f s, peak memory %.2f GiB", duration, peak_gib)
    for name, rate in rates.items():
        logger.info("%s: %s tokens/s", name.removesuffix("_tokens_per_second"), f"{rate:,.0f}")
    return duration, peak_gib


def _is_helper() -> bool:
    """Whether this is another process of data-parallel training: Lightning starts them with the stage's own command."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


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
