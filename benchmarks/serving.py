"""The server under load: 32 users against one slot and against the engine alone, and how long 8 of them wait.

Servers and engine are processes of their own that take turns; users are another one, on the same machine.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import workload
from benchmarks.harness import ROOT, Contestant, Side, environment
from benchmarks.report import Row
from components.checkpoints import save_model
from components.models.sizes import config_for
from components.models.transformer import GPT
from flows.server import free_port
from tests.web.serving import register

ROUNDS, SECONDS, USERS, FEW, TOKENS = 3, 8.0, 32, 8, 40
Figures = Mapping[str, float]


def rows(folder: Path) -> list[Row]:
    """Tokens a second and time to the first token, of the default's shape and of the 135 M model where it is there."""
    folder = folder / "serving"
    folder.mkdir(exist_ok=True)
    store = {"GPTLINEAGE_ROOT": str(folder), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db"}
    with _environment(store):
        found = _compare(folder, "default", _default(folder), slots=(USERS, 1))
        if (large := _smollm2(folder)) is not None:
            found += _compare(folder, "SmolLM2-135M", large, slots=(USERS,))
    return found


def _default(folder: Path) -> Path:
    """A GPT-2 of the default's shape that has learnt nothing: its replies hardly ever end before their limit."""
    target = folder / "default"
    if not target.exists():
        torch.manual_seed(0)
        model = GPT(config_for("4x128x2", vocab_size=4096, context_length=128))
        save_model(target, model, folder.parent / "tokenizer.json")
        register("bench-default", target)
    return target


def _smollm2(folder: Path) -> Path | None:
    made, target = workload.adopted(folder.parent), folder / "SmolLM2-135M"
    if made is not None and not target.exists():
        shutil.copytree(made / "ours", target)
        register("bench-SmolLM2-135M", target)
    return None if made is None else target


def _compare(folder: Path, name: str, model: Path, *, slots: tuple[int, ...]) -> list[Row]:
    """Rounds in turn: servers of so many slots with many users, the first with a few, the engine without a server."""
    options = {"model": str(model), "users": USERS, "new": TOKENS, "seconds": SECONDS}
    engine = Contestant(Side(name, "ours_engine", options), folder)
    many: dict[int, list[Figures]] = {number: [] for number in slots}
    few: list[Figures] = []
    try:
        with contextlib.ExitStack() as stack:
            servers = {number: stack.enter_context(_server(name, number)) for number in slots}
            for address in servers.values():
                _load(folder, address, name, FEW)  # warms up
            engine.round(trial=True)
            for _ in range(ROUNDS):
                for number, address in servers.items():
                    many[number].append(_load(folder, address, name, USERS))
                few.append(_load(folder, servers[USERS], name, FEW))
                engine.round()
    finally:
        engine.close()
    if engine.result.trouble:
        return [Row(f"serving {name}", "tokens/s", None, "", None, trouble=engine.result.trouble)]
    return _rows(f"serving {name}", many, few, engine.result.rates)


def _rows(name: str, many: Mapping[int, list[Figures]], few: list[Figures], alone: list[float]) -> list[Row]:
    rates = {number: [each["tokens_per_second"] for each in runs] for number, runs in many.items()}
    first = {number: [each["first_token_p50"] for each in runs] for number, runs in many.items()}
    crowd, found = f"{name}, {USERS} users", []
    if 1 in many:
        found = [
            _ratio(crowd, "tokens/s", rates[USERS], "one slot", rates[1], 2.5),
            _ratio(f"{crowd}: first token", "ms", first[USERS], "one slot", first[1], 0.125),
        ]
    waits, between = (statistics.median(each[key] for each in few) for key in ("first_token_p95", "between_p50"))
    quick = waits <= 50 if 1 in many else None  # a goal for models of the default's size
    note = f"between tokens {between:.1f} ms"
    return [
        *found,
        _ratio(crowd, "tokens/s", rates[USERS], "engine alone", alone, 0.6),
        Row(f"{name}, {FEW} users: first token, p95", "ms", waits, "<= 50 ms" if 1 in many else "", quick, note=note),
    ]


def _ratio(name: str, unit: str, ours: list[float], peer: str, theirs: list[float], goal: float) -> Row:
    """A row whose ratio is the median within a round; times (ms) are to stay under the goal, rates to reach it."""
    ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
    middle, less = statistics.median(ratios), unit == "ms"
    met = middle <= goal if less else middle >= goal
    return Row(
        name, unit, statistics.median(ours), f"{'<=' if less else '>='} {goal:g} x {peer}", met, peer,
        statistics.median(theirs), middle, (ratios[0], ratios[-1]),
    )  # fmt: skip


@contextmanager
def _server(name: str, slots: int) -> Iterator[str]:
    """The address of a server that has the model loaded."""
    port = free_port()
    command = [sys.executable, "-m", "components.web", "--port", str(port), "--slots", str(slots), "--model"]
    log = Path(f"serving/server-{slots}.log")
    with log.open("w") as out:
        process = subprocess.Popen([*command, f"bench-{name}"], stdout=out, stderr=out, env=environment())
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"the server ended: {log.read_text()[-500:]}")
        yield address
    finally:
        process.terminate()
        process.wait()


def _load(folder: Path, address: str, name: str, users: int) -> Figures:
    """A run of `benchmarks.load` in a process of its own.

    Raises:
        CalledProcessError: a request failed.
    """
    out = folder / "load.json"
    words = ["--url", address, "--model", f"bench-{name}", "--users", users, "--seconds", SECONDS, "--max-tokens",
             TOKENS, "--json", out]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.load", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(), cwd=ROOT)
    (row,) = json.loads(out.read_text())
    found: dict[str, Any] = row
    return found


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process and of those it starts, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
