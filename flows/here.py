"""Bringing a stage up to date on this machine. Another place is another module with this one function."""

import re
import sys
from collections import deque
from dataclasses import dataclass

from flows.graph import has_remote
from flows.processes import OnLine, Processes
from flows.workspace import Workspace

LAST_LINES = 15
# What `dvc repro` prints, and the outcome it stands for. The last one that matches wins.
OUTCOMES = (
    (re.compile(r"^Stage '.*' didn't change, skipping"), "Cached"),
    (re.compile(r"^Pulling data for stage: '"), "Restored"),
    (re.compile(r"^Stage '.*' is cached - skipping run"), "Restored"),
    (re.compile(r"^Running stage '"), "Completed"),
)


@dataclass(frozen=True)
class Result:
    """What became of a stage: Completed (it ran), Restored (from the cache), Cached (unchanged) or Failed."""

    outcome: str
    message: str


def bring_up_to_date(
    stage: str, workspace: Workspace, *, parent_run: str, force: bool, on_line: OnLine, processes: Processes
) -> Result:
    """Have DVC bring one stage up to date in a workspace: its outputs lie there and dvc.lock has them.

    DVC gives the repository's lock up while a stage's command runs, and takes it again to read, amend and write
    dvc.lock: however many stages run, it has one writer at a time. Without --wait-for-lock DVC gives up after three
    seconds, and what was trained for hours is not recorded.

    Args:
        stage: its name.
        workspace: where it lies.
        parent_run: the lineage's run in MLflow, or "".
        force: it runs though nothing changed.
        on_line: is handed every line of output as it comes.
        processes: what runs at the same time, and is stopped with it.
    """
    command = [
        sys.executable,
        "-m",
        "dvc",
        "--wait-for-lock",
        "repro",
        "--single-item",
        workspace.pipeline.address(stage),
    ]
    command += ["--force"] if force else []
    command += ["--pull"] if has_remote(workspace.root) else []
    environment = workspace.environment(GPTLINEAGE_PARENT_RUN=parent_run)
    outcome, tail = "Cached", deque[str](maxlen=LAST_LINES)

    def read(line: str) -> None:
        nonlocal outcome
        if line:
            tail.append(line)
            outcome = next((named for pattern, named in OUTCOMES if pattern.match(line)), outcome)
            on_line(line)

    status = processes.run(command, cwd=workspace.root, env=environment, on_line=read)
    if status:
        return Result("Failed", f"exit status {status}; last lines:\n" + "\n".join(tail))
    return Result(outcome, f"dvc: {outcome.lower()}")
