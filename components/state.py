"""Where an unfinished stage keeps what a resumed run needs, by the identity of its work, and who may write there."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from components import params as parameters
from components.data.digests import file_md5, folder_md5
from components.lineage import flatten
from components.pipelines import OpenPipeline

logger = logging.getLogger(__name__)
STATE_ROOT_VARIABLE = "GPTLINEAGE_STATE"


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
        if list(state.glob("*/*/00*")):
            return "the same command goes on with the shards that are missing"
    return f"the same command does {name} again from its start"


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
