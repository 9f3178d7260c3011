"""What a flow prints at its end: what ran, the results, where to look, and replies side by side."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from components.lineage import ARTIFACTS, CANDIDATE, StageRecord, alias_of
from flows.workspace import open_workspace

ALIGNED = {"ppo": "PPO", "dpo": "DPO", "feedme": "FeedME"}
MODELS = {"pretrain": "base", "sft": "SFT"} | ALIGNED
SHOWN_REPLIES = 5


def print_summary(outcomes: Mapping[str, str], preset: str, overrides: Mapping[str, Any]) -> None:
    """Print the summary of a finished flow."""
    console = Console()
    root = open_workspace(Path.cwd(), preset, overrides).root
    artifacts = root / ARTIFACTS
    console.print(_stages(outcomes, artifacts))
    if "evaluate" in outcomes:
        metrics = json.loads((artifacts / "evaluate" / "metrics.json").read_text())
        console.print(_results(metrics))
        console.print(_alignment(metrics))
        console.print(_replies(artifacts / "evaluate" / "replies.jsonl"))
        console.print(
            f"Report:      {(artifacts / 'evaluate' / 'report.html').relative_to(Path.cwd())}", highlight=False
        )
    console.print("Runs:        make ui        (Prefect and MLflow, on loopback)", highlight=False)
    alias = alias_of(root)
    which = "" if alias == CANDIDATE else f" ARGS='--model models:/gpt-ppo@{alias}'"
    console.print(f"Talk to it:  make chat{which}", highlight=False, soft_wrap=True)
    for stage in outcomes:
        record = StageRecord.load(stage, artifacts)
        if record is not None and record.tracking != "complete":
            console.print(f"[yellow]Tracking of {stage} is {record.tracking}[/yellow]")


def _stages(outcomes: Mapping[str, str], artifacts: Path) -> Table:
    table = Table("stage", "this time", "took", "peak memory", "model", title="Stages")
    for stage, outcome in outcomes.items():
        record = StageRecord.load(stage, artifacts)
        took, memory, model = "", "", ""
        if record is not None:
            took = f"{record.duration_seconds:.0f} s"
            memory = f"{record.peak_memory_gib:.2f} GiB"
            model = f"models:/{record.model_name}/{record.model_version}" if record.model_version else ""
        table.add_row(stage, outcome, took, memory, model)
    return table


def _results(metrics: Mapping[str, Any]) -> Table:
    reward = metrics["reward"]
    ceiling = f" (ceiling {reward['label_ceiling']:.3f})" if "label_ceiling" in reward else ""
    table = Table("figure", "value", title=f"Results on {metrics['prompts']} held-out prompts, seed {metrics['seed']}")
    table.add_row("base model, bits per byte", f"{metrics['pretrain']['bits_per_byte']:.3f}")
    table.add_row("reward model, held-out pair accuracy", f"{reward['pair_accuracy']:.3f}{ceiling}")
    return table


def _alignment(metrics: Mapping[str, Any]) -> Table:
    table = Table("", "wins over SFT", "KL, nats a reply", "loss on plain text", "replies that end", title="Alignment")
    for name, title in ALIGNED.items():
        own = metrics[name]
        wins = f"{own['gold_win_rate']:.1%} [{own['gold_win_rate_low']:.1%}, {own['gold_win_rate_high']:.1%}]"
        table.add_row(
            title, wins, f"{own['kl']:.2f}", f"{own['pretrain_loss_increase']:+.2%}", f"{own['ended_share']:.1%}"
        )
    return table


def _replies(path: Path) -> Table:
    rows = [json.loads(line) for line in path.read_text().splitlines()[:SHOWN_REPLIES]]
    table = Table("user", *MODELS.values(), title="Replies, with the gold score of each", show_lines=True)
    for row in rows:
        table.add_row(row["user"], *(f"{row[model]['reply']} ({row[model]['gold']:.2f})" for model in MODELS))
    return table
