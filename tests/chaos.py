"""Kill stages at random moments and compare what they make with what they make undisturbed.

    python -m tests.chaos [--kills 20] [--seed 0] [--cases pretrain ppo ...]

Works in a tiny copy of the repository. Every case is run once undisturbed and once with kills (SIGKILL, of the stage or
of the flow around it; at a random step, while a checkpoint is being written, or at any time); weights, curves, figures
and the metrics in MLflow must be the same to the last bit. Exits with 1 if anything differs.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from components.pipelines import open_pipeline
from components.rates import TIMINGS
from tests.components.alignment import actor_critic
from tests.contracts.imports import ROOT
from tests.flows.repository import Repository, make_repository

LONG = {
    "pretrain__max_steps": 120, "pretrain__checkpoint_interval": 7, "pretrain__validation_interval": 50,
    "sft__max_steps": 80, "sft__checkpoint_interval": 7, "sft__validation_interval": 40,
    "reward__epochs": 12, "reward__checkpoint_interval": 5,
    "ppo__iterations": 16, "ppo__checkpoint_interval": 3, "ppo__ema_decay": 0.9,
    "ppo__kl_control": {"kind": "ziegler", "target": 1.0, "horizon": 100},
    "dpo__max_steps": 60, "dpo__checkpoint_interval": 7,
    "feedme__max_steps": 60, "feedme__checkpoint_interval": 7, "feedme__validation_interval": 30,
}  # fmt: skip
PIPELINE = open_pipeline(root=ROOT)
# The nodes that train a model and keep checkpoints.
TRAINED = [
    node for node in PIPELINE.models
    if any(each.name == "checkpoint_interval" for each in fields(PIPELINE.stages[node].section))
]  # fmt: skip
# case -> the stage it runs, and what it changes
CASES: dict[str, tuple[str, dict[str, object]]] = {node: (node, {}) for node in TRAINED} | {
    "ppo": ("ppo", {"ppo__algorithm": actor_critic(0.0005)}),
    "grpo": ("ppo", {"ppo__algorithm": {"kind": "grpo", "replies_per_prompt": 4}}),
    "rloo": ("ppo", {"ppo__algorithm": {"kind": "rloo", "replies_per_prompt": 4}}),
    "lora": (
        "ppo",
        {"ppo__algorithm": actor_critic(0.0005), "ppo__weights": {"kind": "lora", "rank": 4, "alpha": 8.0}},
    ),
    "flow": (TRAINED[0], {}),
}
TIMEOUT = 300.0


@dataclass
class Outcome:
    """What happened to a case."""

    kills: list[str] = field(default_factory=list)
    resumed_from: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def digest(repository: Repository, stage: str) -> dict[str, Any]:
    """Everything that a finished stage left, times excepted."""
    out = repository.root / "artifacts" / stage
    record = json.loads((out / "run.json").read_text())
    client = repository.client()
    metrics = client.get_run(record["run_id"]).data.metrics
    names = [name for name in metrics if not name.endswith(TIMINGS) and "memory" not in name]
    logged = {n: [(p.step, p.value) for p in client.get_metric_history(record["run_id"], n)] for n in names}
    return {
        "weights": (out / "model/model.safetensors").read_bytes(),
        "curve": (out / "history.csv").read_text(),
        "figures": (out / "metrics.json").read_text(),
        **{f"metric {name}": sorted(points) for name, points in logged.items()},
    }


def command(case: str) -> tuple[str, ...]:
    """What runs a case: its stage alone, or the flow around it."""
    stage = CASES[case][0]
    if case == "flow":
        return ("python", "-m", "flows.lineage", "--until", stage, "--force", stage)
    return ("python", "-m", "components.stages", stage)


def wait_for_orphans(repository: Repository) -> None:
    """A killed flow cannot stop its stage; the stage stops by itself within about a second."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if not any(_is_stage(process, repository.root) for process in psutil.process_iter(["cmdline", "status"])):
            return
        time.sleep(0.1)
    raise AssertionError("a stage goes on without its flow")


def _is_stage(process: psutil.Process, root: Path) -> bool:
    named = any(word.startswith("components.stages") for word in process.info["cmdline"] or [])
    try:
        return named and process.info["status"] != psutil.STATUS_ZOMBIE and process.cwd() == str(root)
    except psutil.Error:
        return False


def kill_once(repository: Repository, case: str, how: str, steps: int, rng: random.Random) -> str | None:
    """Start a case and kill it; when that was, or None where it was done before the moment came.

    Moments are of this start alone: files that an earlier kill left behind do not count. steps: of the whole case.
    """
    stage = CASES[case][0]
    state = repository.root / ".lineage/state"
    started_ns = time.time_ns()
    process = repository.start(*command(case))
    step = rng.randrange(steps // 3, steps)
    seconds = rng.uniform(1, 25 if case == "flow" else 12)
    begun = time.monotonic()

    def fresh(pattern: str) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return [path for path in state.glob(pattern) if path.stat().st_mtime_ns > started_ns]
        return []

    def due() -> bool:
        if how == "time":
            return time.monotonic() - begun > seconds
        if how == "checkpoint":
            return bool(fresh(f"{stage}-*/*.partial/tensors.safetensors"))
        return any(path.read_text().count("\n") >= step for path in fresh(f"{stage}-*/history.jsonl"))

    while process.poll() is None and not due() and time.monotonic() - begun < TIMEOUT:
        time.sleep(0.001)
    if process.poll() is not None:
        output, _ = process.communicate()
        if process.returncode:
            raise AssertionError(output)
        return None
    os.killpg(process.pid, signal.SIGKILL)
    wait_for_orphans(repository)
    process.communicate()
    return {"step": f"step {step}", "checkpoint": "checkpoint", "time": f"{seconds:.1f} s"}[how]


def run_case(repository: Repository, case: str, kills: int, rng: random.Random) -> Outcome:
    """Undisturbed, then with kills; what differs."""
    stage, changes = CASES[case]
    repository.set(**changes)
    repository.run(*command(case))
    undisturbed = digest(repository, stage)
    steps = undisturbed["curve"].count("\n") - 1
    outcome = Outcome()
    for number in range(kills):
        # The first kill comes after a checkpoint, so that every case resumes.
        how = "step" if number == 0 else rng.choice(("step", "checkpoint", "time"))
        killed = kill_once(repository, case, how, steps, rng)
        if killed is not None:
            outcome.kills.append(killed)
    output = repository.run(*command(case))
    outcome.resumed_from = [line.split("resuming from ")[1] for line in output.splitlines() if "resuming from" in line]
    disturbed = digest(repository, stage)
    names = sorted(undisturbed.keys() | disturbed.keys())
    outcome.differences = [name for name in names if undisturbed.get(name) != disturbed.get(name)]
    return outcome


def run(root: Path, cases: list[str], kills: int, seed: int) -> dict[str, Outcome]:
    """Prepare a tiny repository and go through the cases; kills are spread over them evenly."""
    repository = make_repository(root)
    repository.set(**LONG)
    repository.run("python", "-m", "components.stages.ingest")
    needed = {above for case in cases for above in PIPELINE.ancestors(CASES[case][0])}
    for stage in PIPELINE.nodes:
        if stage in needed:
            repository.run("python", "-m", "components.stages", stage)
    rng = random.Random(seed)
    share = [kills // len(cases) + (number < kills % len(cases)) for number in range(len(cases))]
    outcomes = {}
    for case, count in zip(cases, share, strict=True):
        outcomes[case] = outcome = run_case(repository, case, count, rng)
        verdict = f"DIFFERS: {', '.join(outcome.differences)}" if outcome.differences else "equal"
        verdict += "" if outcome.resumed_from else ", but the last start resumed from nothing"
        print(f"{case:10} killed at {', '.join(outcome.kills) or '-':60} {verdict}", flush=True)
    return outcomes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        outcomes = run(Path(root), arguments.cases, arguments.kills, arguments.seed)
    killed = sum(len(outcome.kills) for outcome in outcomes.values())
    differing = [case for case, outcome in outcomes.items() if outcome.differences]
    print(f"{killed} kills, {len(differing)} of {len(outcomes)} cases differ", flush=True)
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
