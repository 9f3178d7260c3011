"""What orchestration costs: a small copy of the repository, its flow when there is nothing to do, a stage's start."""

import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Row
from tests.flows.repository import Repository, make_repository

ROUNDS = 3
STEPS = 300  # of the short stage whose figures are sent to MLflow


def rows() -> list[Row]:
    """Seconds of the flow with and without a server, of `dvc repro`, and until a stage's first step."""
    with tempfile.TemporaryDirectory() as folder:
        repository = make_repository(Path(folder))
        repository.flow()
        plain = _median(lambda: repository.dvc("repro"))
        alone = _median(lambda: repository.flow())
        first = statistics.median(_first_step(repository) for _ in range(ROUNDS))
        script = _median(lambda: repository.run(sys.executable, "-c", SCRIPT))
        share = _tracking_share(repository)
        with _server(repository):
            served = _median(lambda: repository.flow())
    beside = f"plain dvc repro: {plain:.1f} s"
    return [
        Row("flow with nothing to do, Prefect server running", "s", served, "<= 4 s", served <= 4, note=beside),
        Row("flow with nothing to do, no server", "s", alone, "<= 10 s", alone <= 10, note=beside),
        Row("start of a stage to the end of its first step", "s", first, "<= 4 s", first <= 4,
            note=f"a script that imports torch and takes a step: {script:.1f} s"),
        Row("tracking, share of a training step", "%", 100 * share, "<= 1 %", share <= 0.01),
    ]  # fmt: skip


# What is the least that a training script does: the same model, one step.
SCRIPT = """
import torch
model = torch.nn.Sequential(torch.nn.Embedding(400, 32), torch.nn.Linear(32, 400))
ids = torch.randint(400, (4, 41))
loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
loss.backward()
torch.optim.AdamW(model.parameters()).step()
"""


def _median(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _first_step(repository: Repository) -> float:
    """Seconds from the start of a stage's process to its first line of progress, which it writes after a step."""
    started = time.perf_counter()
    process = repository.start(sys.executable, "-m", "components.stages", "pretrain")
    assert process.stdout is not None
    seconds = next(time.perf_counter() - started for line in process.stdout if re.match(r"\[pretrain\] \d+ % \|", line))
    process.communicate()
    return seconds


def _tracking_share(repository: Repository) -> float:
    """Seconds spent in the tracker over those of the default preset's step, from the stage's own process."""
    result = repository.run(sys.executable, "-c", TRACKED.format(steps=STEPS))
    seconds = float(json.loads(result.splitlines()[-1])["seconds_per_step"])
    step: float = json.loads(result.splitlines()[-1])["step_seconds"]
    return seconds / step


TRACKED = """
import json, tempfile, time
from pathlib import Path
import torch
from components import params as parameters
from components.models.config import GPTConfig
from components.models.transformer import GPT
from components.tracking import StageTracker
from components.pipelines import open_pipeline
from components.process import keep_memory
keep_memory()
model = GPT(GPTConfig(4096, 128, 4, 128, 2))
ids = torch.randint(4096, (32, 129))
def step():
    logits = model.logits(model(ids[:, :-1]))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    model.zero_grad()
step()
started = time.perf_counter()
for _ in range(5): step()
step_seconds = (time.perf_counter() - started) / 5
with tempfile.TemporaryDirectory() as folder:
    state = Path(folder) / "state" / "pretrain"
    state.mkdir(parents=True)
    with StageTracker("pretrain", open_pipeline(), parameters.read_tree(), state=state) as tracker:
        tracker.log_metrics({{"pretrain/train/loss": 0.0}}, 0)
        started = time.perf_counter()
        for number in range(1, {steps}):
            figures = {{"train/loss": 1.0, "train/gradient_norm": 1.0, "train/step_seconds": 1.0}}
            tracker.log_metrics({{f"pretrain/{{key}}": value for key, value in figures.items()}}, number)
        tracker.flush()
        seconds = time.perf_counter() - started
print(json.dumps({{"seconds_per_step": seconds / {steps}, "step_seconds": step_seconds}}))
"""


@contextmanager
def _server(repository: Repository) -> "Iterator[subprocess.Popen[str]]":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = repository.start_server(port)
    try:
        yield server
    finally:
        server.terminate()
        server.wait()
