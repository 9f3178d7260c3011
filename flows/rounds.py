"""Rounds of people's labels: ask about the newest policy's replies, wait for people, learn, evaluate, and again.

python -m flows.rounds                          # goes on where the rounds are, whatever ended the last call
python -m flows.rounds --until-round 1          # the first round alone
python -m flows.rounds --tasks 300 --quota 0.9  # as many rankings a round, of which so large a share is waited for
python -m flows.rounds --take                   # learn from what the open round has been answered so far
python -m components.labeling.journal close 1   # from another terminal: end the waiting for round 1

Waiting costs nothing that cannot be had again: Ctrl-C ends it, answers go on being taken by whoever serves the page,
and the same command goes on. A round that was learnt from is closed; its export is a version of `labels.dvc`.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from components import process
from components.labeling.journal import PATH, Journal, Progress
from components.labeling.snapshot import export, take_in
from components.pipelines import open_pipeline
from flows import labels
from flows.checks import check
from flows.command import run_flow
from flows.graph import dvc
from flows.processes import run_streaming
from flows.run import run_pipeline
from flows.stage_task import Reporter
from flows.summary import print_summary
from flows.workspace import Workspace

PIPELINE = "rounds"
POLL_SECONDS = 2.0


class NothingAsked(ValueError):
    """A round cannot be asked, or nobody has answered it; the message says what can be done."""


@task(task_run_name="ask-{number}", cache_policy=NO_CACHE)
def ask(workspace: Workspace, number: int, tasks: int, replies: int) -> None:
    """Have the newest policy's replies asked about, unless the round was asked.

    Raises:
        NothingAsked: no replies could be sampled.
    """
    newest = f"ppo-{number - 1}" if number > 1 else "sft"
    reporter = Reporter(f"ask-{number}")
    words = ["--round", str(number), "--model", str(workspace.artifacts / newest / "model"), "--tasks", str(tasks),
             "--replies", str(replies), "--params", str(workspace.root / workspace.params_file)]  # fmt: skip
    command = [sys.executable, "-m", "components.labeling.ask", *words]
    if run_streaming(command, cwd=workspace.root, env=workspace.environment(), on_line=reporter):
        raise NothingAsked("\n".join(reporter.tail))


@task(task_run_name="wait-{number}", cache_policy=NO_CACHE)
def wait(journal: Path, number: int, quota: float, *, take: bool) -> None:
    """Wait until so large a share of a round's answers is there, or the round is closed.

    Raises:
        NothingAsked: what was to be taken has no answer.
    """
    opened = Journal(journal)
    artifact, shown = None, -1
    try:
        while True:
            progress = of_round(opened, number)
            if progress.given != shown:
                get_run_logger().info("round %d: %d of %d answers", number, progress.given, progress.wanted)
                percent, shown = 100 * progress.given / max(progress.wanted, 1), progress.given
                if artifact is None:
                    artifact = create_progress_artifact(percent, key=f"round-{number}-answers", description="answers")
                else:
                    update_progress_artifact(artifact, percent)  # type: ignore[arg-type]
            if take and not progress.given:
                raise NothingAsked(f"round {number} has no answers yet: there is nothing to take")
            if take or is_enough(progress, quota):
                return
            time.sleep(POLL_SECONDS)
    finally:
        opened.close()


def is_enough(progress: Progress, quota: float) -> bool:
    """Whether a share of the answers that can still come is there, and there is one at all unless it was closed."""
    return progress.is_done or progress.given >= max(1, quota * (progress.wanted - progress.skipped))


def of_round(journal: Journal, number: int) -> Progress:
    """A round in numbers.

    Raises:
        NothingAsked: it has no tasks.
    """
    for progress in journal.progress():
        if progress.round == number:
            return progress
    raise NothingAsked(f"round {number} has no tasks: every prompt may have been asked about before")


@task(task_run_name="export-{number}", cache_policy=NO_CACHE)
def bring(workspace: Workspace, journal: Path, number: int) -> None:
    """Close a round, and make what was answered a version of the labels."""
    opened = Journal(journal)
    opened.close_round(number)
    export(opened, workspace.root / labels.LABELS)
    opened.close()
    dvc(workspace, "add", str(labels.LABELS))


@flow(name="rounds", description="Ask people about the newest policy's replies, learn from their answers, and again.")
def rounds(
    pipeline: str = PIPELINE,
    tasks: int = 200,
    replies: int = 4,
    quota: float = 1.0,
    take: bool = False,
    until_round: int | None = None,
) -> dict[str, str]:
    """Bring every round up to date, as far as people have answered; for each stage, what DVC did."""
    workspace = check("default", {}, pipeline=pipeline)
    journal = workspace.root / PATH
    _take_in_what_lies_here(workspace, journal)
    outcomes: dict[str, str] = {}
    for number in range(1, (until_round or len(workspace.pipeline.labels)) + 1):
        known = [each for each in _progress(journal) if each.round == number]
        if not known:
            outcomes = _together(outcomes, run_pipeline("default", {}, pipeline=pipeline, until="sft"))
            ask(workspace, number, tasks, replies)
        if not (known and known[0].closed):
            wait(journal, number, quota, take=take)
            take = False
        bring(workspace, journal, number)
        outcomes = _together(outcomes, run_pipeline("default", {}, pipeline=pipeline, until=f"evaluate-{number}"))
    return outcomes


def _together(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """What became of each stage: what was done once is unchanged when it is looked at again."""
    return before | {name: state for name, state in after.items() if state != "Cached" or name not in before}


def _take_in_what_lies_here(workspace: Workspace, journal: Path) -> None:
    """Labels that were versioned elsewhere come into the journal, whose export would leave them out otherwise."""
    labels.bring(workspace)
    if (workspace.root / labels.LABELS).exists():
        opened = Journal(journal)
        take_in(opened, workspace.root / labels.LABELS)
        opened.close()


def _progress(journal: Path) -> list[Progress]:
    opened = Journal(journal)
    found = opened.progress()
    opened.close()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default=PIPELINE, metavar="NAME", help=f"with the nodes of {PIPELINE}")
    parser.add_argument("--tasks", type=int, default=200, help="rankings to ask for in a round (200)")
    parser.add_argument("--replies", type=int, default=4, help="K, replies to rank a task (4)")
    parser.add_argument("--quota", type=float, default=1.0, help="share of a round's answers to wait for (1.0)")
    parser.add_argument("--take", action="store_true", help="do not wait for the open round: learn from what is there")
    parser.add_argument("--until-round", type=int, metavar="N", help="the last round (all that the pipeline has)")
    return parser


def main() -> None:
    """The command line."""
    options: dict[str, Any] = vars(_parser().parse_args())
    known = len(open_pipeline(options["pipeline"]).labels)
    if options["until_round"] and not 1 <= options["until_round"] <= known:
        sys.exit(f"--until-round {options['until_round']}: {options['pipeline']} has rounds 1 to {known}")
    if not 0 < options["quota"] <= 1:
        sys.exit(f"--quota {options['quota']} is no share above 0, at most 1")
    status = process.leave_after_exit_handlers()
    outcomes = run_flow(rounds, **options)
    print_summary(outcomes, check("default", {}, pipeline=options["pipeline"]))
    status["code"] = 0


if __name__ == "__main__":
    main()
