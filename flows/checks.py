"""What is asked before anything starts: a wrong word or an impossible place costs a second and leaves no run."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.pipelines import DEFAULT, open_pipeline
from flows.workspace import Workspace, open_workspace

IMPOSSIBLE = "?'\n"  # SQLite's addresses in Prefect and MLflow end at them


class SetupError(RuntimeError):
    """Nothing can run in this place; the message says what is wrong and what to do."""


def check(
    preset: str,
    overrides: Mapping[str, Any],
    *,
    pipeline: str = DEFAULT,
    until: str | None = None,
    start: str | None = None,
    force: Sequence[str] = (),
) -> Workspace:
    """The workspace of a flow that may start; nothing is written.

    Raises:
        SetupError: the repository cannot be worked in.
        PipelineError: there is no such pipeline, or its nodes do not fit together.
        ParamsError: preset, override or parameter file is wrong.
        ValueError: a stage's name is wrong, or it comes after the last one.
    """
    check_place(Path.cwd())
    workspace = open_workspace(Path.cwd(), preset, overrides, open_pipeline(pipeline))
    stages = ("ingest", *workspace.pipeline.nodes)
    asked = {"--until": [until] if until else [], "--from": [start] if start else [], "--force": force}
    for option, names in asked.items():
        for name in names:
            if name not in stages:
                raise ValueError(f"{option}: no stage {name!r}; the stages are {', '.join(stages)}")
            if until and stages.index(name) > stages.index(until):
                raise ValueError(f"{option} {name}: this flow ends at {until}; --until {name} goes on to it")
    return workspace


def check_place(root: Path) -> None:
    """Whether the repository's folder and git allow to work here.

    Raises:
        SetupError: they do not.
    """
    odd = [character for character in IMPOSSIBLE if character in str(root)]
    if odd:
        raise SetupError(
            f"the path {root} has {odd[0]!r} in it, at which addresses of databases end: rename that folder"
        )
    try:
        git = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--git-dir"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise SetupError("git is not installed, or not in PATH: DVC and the variants of a flow need it") from None
    if git.returncode == 0:
        return
    if "dubious ownership" in git.stderr:
        raise SetupError(
            f"{root} belongs to another user, so that git refuses to read it. If you trust it: "
            f"git config --global --add safe.directory '{root}'"
        )
    from dvc.config import Config  # noqa: PLC0415 (a tenth of a second that the usual case need not cost)

    if not Config(str(root / ".dvc"))["core"].get("no_scm"):
        raise SetupError(
            f"{root} is no git repository, which DVC counts on: git init && git add -A && git commit -m start. "
            "To work without versions: dvc config --local core.no_scm true"
        )
