"""What a flow prints at its end: what ran, the results with gates, replies, and where to look. Fits 80 columns."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from components.lineage import StageRecord
from components.stage import Kind
from flows.results import evaluation, figures, gates
from flows.workspace import Workspace

SHOWN_REPLIES = 5
WIDTH = 80


def print_summary(outcomes: Mapping[str, str], workspace: Workspace) -> None:
    """Print the summary of a finished flow. Texts of users and models are printed as they are, never as markup."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    artifacts, judges = workspace.artifacts, workspace.pipeline.judges
    console.print(_stages(outcomes, artifacts))
    metrics = evaluation(workspace) if not outcomes.keys().isdisjoint(judges) else None
    if metrics is not None:
        console.print(_results(workspace, metrics))
        referee = next(iter(metrics.get("referees", [])), "")
        for judge in (each for each in judges if each in outcomes):
            _print_replies(console, artifacts / judge / "replies.jsonl", referee)
    for line in _pointers(workspace, outcomes, metrics is not None):
        console.print(line, soft_wrap=True)
    for stage in outcomes:
        record = StageRecord.load(stage, artifacts)
        if record is not None and record.tracking != "complete":
            console.print(f"Tracking of {stage} is {record.tracking}", style="yellow", soft_wrap=True)


def _stages(outcomes: Mapping[str, str], artifacts: Path) -> Table:
    names = Column("stage", min_width=max(map(len, outcomes), default=0))  # what commands want is shown whole
    table = Table(names, "this time", "took", "peak memory", Column("model", overflow="fold"), title="Stages")
    for stage, outcome in outcomes.items():
        record = StageRecord.load(stage, artifacts)
        took, memory, model = "", "", ""
        if record is not None:
            took = f"{record.duration_seconds:.0f} s"
            memory = f"{record.peak_memory_gib:.2f} GiB"
            model = record.address or ""
        table.add_row(stage, outcome, took, memory, model)
    return table


def _results(workspace: Workspace, metrics: Mapping[str, Any]) -> Table:
    held_out = f"{metrics['prompts']} held-out prompts" if metrics["prompts"] else f"{metrics['split']} data"
    where = f"{held_out}, seed {metrics['seed']}"
    table = Table("figure", "value", title=f"Results on {where}")
    for words, value in figures(metrics, workspace):
        table.add_row(words, value)
    table.add_section()
    for stage, verdict in gates(workspace).items():
        table.add_row(f"gate of {stage}", verdict)
    return table


def _print_replies(console: Console, path: Path, referee: str) -> None:
    """A block a prompt: what the user says, and below it a line a model."""
    rows = path.read_text().splitlines()[:SHOWN_REPLIES]
    if rows:
        console.print("Replies" + (f", with the {referee} score of each" if referee else ""))
    for line in rows:
        row = json.loads(line)
        console.print(f"\nuser      {printable(row['user'])}", style="bold")
        for model, own in row.items():
            if isinstance(own, dict):
                shown = f"  ({own[referee]:.2f})" if referee in own else ""
                console.print(f"  {model:10}{printable(own['reply'])}{shown}")
    console.print()


def printable(text: str) -> str:
    """A text in one line, without the characters that steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _pointers(workspace: Workspace, outcomes: Mapping[str, str], evaluated: bool) -> Iterator[str]:
    artifacts, pipeline = workspace.artifacts, workspace.pipeline
    if evaluated:
        for judge in pipeline.judges:
            yield f"Report:      {(artifacts / judge / 'report.html').relative_to(workspace.home)}"
    yield "Runs:        make ui        (Prefect, MLflow and the chat, on loopback)"
    made = [node for node in outcomes if node in pipeline.nodes and pipeline.stages[node].model == Kind.LANGUAGE_MODEL]
    records = {stage: StageRecord.load(stage, artifacts) for stage in made}
    named = {stage: record.address for stage, record in records.items() if record is not None and record.address}
    best = "ppo" if "ppo" in named else next(reversed(named), None)
    if best is None:
        return
    if best == "ppo" and not workspace.is_variant:
        yield "Talk to it:  make chat"
    else:
        yield f"Talk to it:  make chat ARGS='--model {named[best]}'"
