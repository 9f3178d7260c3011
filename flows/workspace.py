"""Where a flow works: the repository itself, or a copy of it that has other parameters.

`params.yaml` is what `dvc repro` reads, so a preset or an override must not change it under the user's feet. A flow
with overrides works in a copy below `.lineage/variants/`, named by what was overridden, that shares the DVC cache,
the MLflow store and the checkpoints: what the overrides do not touch is taken from the cache, not computed again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import params as parameters

KEPT_IN_VARIANT = {"dvc.lock", "data.dvc", "params.yaml"}


@dataclass(frozen=True)
class Workspace:
    """A folder with the repository's files, and the parameters in force there."""

    root: Path
    home: Path
    tree: dict[str, Any]

    @property
    def is_variant(self) -> bool:
        """Whether this is a copy with overrides."""
        return self.root != self.home

    def environment(self, **extra: str) -> dict[str, str]:
        """Variables for a stage's process: shared store and checkpoints, this interpreter first, no telemetry."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "GPTLINEAGE_ROOT": str(self.home),
            "GPTLINEAGE_STATE": str(self.home / ".lineage" / "state"),
            "PYTHONUNBUFFERED": "1",
            "DVC_NO_ANALYTICS": "1",
            "DO_NOT_TRACK": "true",
            **extra,
        }

    @contextlib.contextmanager
    def exclusive(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the workspace; a second flow in it says who it waits for, and waits."""
        path = self.root / ".lineage" / "flow.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                say(f"Another flow (process {file.read().strip() or '?'}) is working here; waiting for it to finish.")
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield


def open_workspace(home: Path, preset: str, overrides: Mapping[str, Any]) -> Workspace:
    """The workspace for a preset and overrides.

    Raises:
        ParamsError: unknown preset or key, or values that break the schema; all are listed.
    """
    tree = parameters.read_tree(home / parameters.PARAMS_FILE)
    presets = parameters.check(tree, source=str(parameters.PARAMS_FILE)).presets
    if preset not in presets:
        raise parameters.ParamsError(f"no preset {preset!r}; there are {', '.join(presets)}")
    changes = {**presets[preset], **overrides}
    resolved = parameters.override(tree, changes)
    parameters.check(resolved, source=f"preset {preset} with overrides")
    if resolved == tree:
        return Workspace(home, home, tree)
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]
    root = home / ".lineage" / "variants" / f"{preset}-{digest}"
    return Workspace(root, home, resolved)


def refresh(workspace: Workspace) -> None:
    """Bring a variant up to date with the repository's files; its own results and lock file stay."""
    if not workspace.is_variant:
        return
    home, root = workspace.home, workspace.root
    listing = ["git", "-C", str(home), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    for folder in ("components", "flows"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for name in filter(None, names):
        source, target = home / name, root / name
        if name.startswith("artifacts/"):  # results of the repository's own
            continue
        if source.is_file() and not (name in KEPT_IN_VARIANT and target.exists()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    parameters.write_tree(workspace.tree, root / "params.yaml")
    if workspace.tree["ingest"] != parameters.read_tree(home / parameters.PARAMS_FILE)["ingest"]:
        (root / "data.dvc").unlink(missing_ok=True)  # other data: nothing to compare its digest with
    local = home / ".dvc" / "config.local"
    settings = local.read_text() if local.exists() else ""
    settings += f"\n[core]\n    no_scm = true\n[cache]\n    dir = {home / '.dvc' / 'cache'}\n"
    (root / ".dvc").mkdir(parents=True, exist_ok=True)
    (root / ".dvc" / "config.local").write_text(settings)
