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
from components.loopback import spare_loopback
from components.pipelines import PARAMS_FILE, OpenPipeline
from components.provenance import flow_command
from components.sections.files import files_of
from flows.render import render

REPLACED = ("components", "flows")
CODE = (*REPLACED, "pipelines")
# What git does not know yet and a stage may need; a folder of data is read where it lies, in the repository.
NEW_FILES = (
    *CODE,
    *(f":(glob){pattern}" for pattern in ("*.yaml", "*.toml", "*.lock", "*.dvc", ".dvcignore", ".dvc/*")),
)
ASKED = ".lineage/asked.txt"  # in a variant: the command that asked for it last


@dataclass(frozen=True)
class Workspace:
    """A folder with the repository's files, and the parameters in force there."""

    root: Path
    home: Path
    tree: dict[str, Any]
    pipeline: OpenPipeline
    asked: str = ""
    elsewhere: Path | None = None  # the pipeline's folder where that is not the repository's

    @property
    def is_variant(self) -> bool:
        """Whether this is a copy with overrides."""
        return self.root != self.home

    def environment(self, **extra: str) -> dict[str, str]:
        """Variables for a stage's process: shared store and checkpoints, this interpreter first, no telemetry."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "GPTLINEAGE_ROOT": str(self.home),
            "GPTLINEAGE_STATE": str(self.home / ".lineage" / "state"),
            "PYTHONUNBUFFERED": "1",
            "DVC_NO_ANALYTICS": "1",
            "DO_NOT_TRACK": "true",
            **extra,
        }
        spare_loopback(environment)
        return environment

    @property
    def has_own_data(self) -> bool:
        """Whether this is a variant with another source of data than the repository's."""
        file = self.elsewhere / PARAMS_FILE if self.elsewhere else self.home / self.params_file
        key = parameters.INGEST
        return self.is_variant and self.tree.get(key) != parameters.read_tree(file).get(key)

    @property
    def params_file(self) -> Path:
        """The pipeline's parameters; in a variant those of its copy of the pipeline."""
        return self.pipeline.params_file

    @property
    def artifacts(self) -> Path:
        """Where the pipeline's nodes write."""
        return self.root / self.pipeline.artifacts

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


def open_workspace(home: Path, preset: str, overrides: Mapping[str, Any], pipeline: OpenPipeline) -> Workspace:
    """The workspace for a pipeline with a preset and overrides.

    Raises:
        ParamsError: unknown preset or key, or values that break the schema; all are listed.
    """
    tree = parameters.read_tree(home / pipeline.params_file)
    presets = parameters.check(tree, pipeline, source=str(pipeline.params_file)).presets
    if preset not in presets:
        raise parameters.ParamsError(f"no preset {preset!r}; there are {', '.join(presets)}")
    changes = {**presets[preset], **overrides}
    resolved = parameters.override(tree, changes, pipeline)
    parameters.check(resolved, pipeline, source=f"preset {preset} with overrides")
    if resolved == tree:
        return Workspace(home, home, tree, pipeline)
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]
    name = preset if pipeline.is_default else f"{pipeline.name}-{preset}"
    root = home / ".lineage" / "variants" / f"{name}-{digest}"
    asked = flow_command(preset, overrides, pipeline=pipeline.asked_by)
    elsewhere = pipeline.folder if pipeline.folder.is_absolute() else None
    return Workspace(root, home, resolved, pipeline.within(), asked, elsewhere)


def refresh(workspace: Workspace) -> None:
    """Bring a variant up to date with the repository's code, settings and data; its own results and lock file stay.

    Its graph, and the repository's, is written anew where the declaration or the parameters ask for another.
    """
    if workspace.is_variant:
        _copy(workspace)
    pipeline, path = workspace.pipeline, workspace.root / workspace.pipeline.graph_file
    text = render(pipeline, workspace.tree, workspace.root)
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _copy(workspace: Workspace) -> None:
    home, root = workspace.home, workspace.root
    for folder in REPLACED:
        shutil.rmtree(root / folder, ignore_errors=True)
    for name in _files(home):
        target = root / name
        if target.name == "dvc.lock" and target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(home / name, target)
    if workspace.elsewhere is not None:
        shutil.copytree(workspace.elsewhere, root / workspace.pipeline.folder, dirs_exist_ok=True)
    parameters.write_tree(workspace.tree, root / workspace.params_file)
    for name in _named_files(workspace):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(home / name, root / name)
    pointer = workspace.pipeline.pointer
    if workspace.has_own_data or not (home / pointer).exists():
        (root / pointer).unlink(missing_ok=True)  # other data: nothing to compare its digest with
    share_dvc(home, root, no_scm=True)
    (root / ASKED).parent.mkdir(exist_ok=True)
    (root / ASKED).write_text(workspace.asked + "\n")


def _named_files(workspace: Workspace) -> Iterator[str]:
    """The user's files that the variant's parameters name: git may not know them. What nodes make, they make there."""
    pipeline = workspace.pipeline
    params = parameters.check(workspace.tree, pipeline, source=str(pipeline.params_file))
    made = [pipeline.artifacts / node for node in pipeline.stages]
    for section in params.sections.values():
        named = (name for name in files_of(section) if not any(Path(name).is_relative_to(own) for own in made))
        yield from (name for name in named if (workspace.home / name).is_file() and name[0] != "/")


def _files(home: Path) -> list[str]:
    """The files of the repository that a variant is made of: what git tracks, results excepted, and new code."""
    git = ["git", "-C", str(home), "ls-files", "-z"]
    listings = (["--cached"], ["--others", "--exclude-standard", "--", *NEW_FILES])
    found: list[str] = []
    for arguments in listings:
        listed = subprocess.run([*git, *arguments], check=False, capture_output=True)
        if listed.returncode:  # DVC works without git where core.no_scm says so
            paths = [*home.iterdir(), *(path for folder in (*CODE, ".dvc") for path in (home / folder).rglob("*.*"))]
            found = [str(path.relative_to(home)) for path in paths if ".dvc/cache" not in str(path)]
            break
        found += os.fsdecode(listed.stdout).split("\0")
    return [
        name
        for name in dict.fromkeys(found)
        if name and not name.startswith(("artifacts/", ".dvc/config.local", ".dvc/tmp")) and (home / name).is_file()
    ]


def share_dvc(home: Path, root: Path, *, no_scm: bool) -> None:
    """Have DVC in a copy of the repository use its cache, its remotes and the user's own settings for it.

    Locations that the settings give as relative paths are those that the repository means.
    """
    from dvc.config import Config, merge  # noqa: PLC0415 (dvc is imported at first use, as in flows.graph)

    local = root / ".dvc" / "config.local"
    local.unlink(missing_ok=True)
    config = Config(str(home / ".dvc"))
    settings: dict[str, Any] = {}
    for level in ("repo", "local"):
        merge(settings, config.load_one(level))
    cache = config["cache"].get("dir") or str(home / ".dvc" / "cache")
    merge(settings, {"cache": {"dir": cache}, "core": {"no_scm": True} if no_scm else {}})
    local.parent.mkdir(parents=True, exist_ok=True)
    with Config(str(root / ".dvc")).edit("local") as copy:
        merge(copy, settings)
