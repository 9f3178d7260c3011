"""Every command that README prints does what it says, as printed.

A command is run for real in a prepared copy of the repository, or, where that takes minutes or a browser, parsed by the
project's own parsers. A command that no rule below knows fails the test: nothing is skipped in silence.
"""

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from components import process
from components.checkpoints import load_gpt, save_model
from components.pipelines import open_pipeline
from flows import command as command_line
from flows.server import free_port
from flows.workspace import open_workspace
from tests.components.chatting import make_models
from tests.components.test_peft import adapters
from tests.contracts.imports import ROOT

PROGRAMS = ("make", "python", "dvc", "mlflow", "prefect", "curl", "export", "pip", "git", ".")
README = (ROOT / "README.md").read_text()

# What is not run as printed, by what it begins with, and why; `parsed` says what is checked instead.
NOT_RUN = {
    ". .venv/bin/activate": "a shell's own; `make setup` makes the environment",
    "pip install": "fetches optional packages; pyproject.toml names them",
}
# Of the kinds below, but done within seconds.
QUICK = (
    "make help", "python -m flows.lineage --until ingest && ", "python -m flows.lineage --plan",
    "python -m flows.variants", "python -m flows.doctor",
)  # fmt: skip
PARSED = {
    "make ": "runs for minutes, makes an environment or opens servers: what make would start is parsed",
    "python -m flows.": "runs for minutes (test_run.py and test_smoke.py do): arguments and values are parsed",
    "python -m benchmarks": "an hour: its options are those of --help",
    "python -m components.labeling.robots": "needs a server with tasks (test_rounds.py has one): options are of --help",
    "python -m tests.chaos": "an hour: its options are those of --help",
}


def blocks():
    """README's indented code blocks, each a list of commands without their comments."""
    for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", README, re.MULTILINE):
        text = re.sub(r"\\\n\s*", "", block)
        lines = [re.sub(r"\s{2,}#.*$", "", line).strip() for line in text.splitlines()]
        found = [line for line in lines if line.startswith(PROGRAMS)]
        if found:
            assert not [line for line in lines if line and line not in found], f"not all of these are commands: {lines}"
            yield found


def inline():
    """Commands between backticks in the text and its tables."""
    for text in re.findall(r"`([^`\n]+)`", re.sub(r"^    .*$", "", README, flags=re.MULTILINE)):
        if text.split()[0] in PROGRAMS and len(text.split()) > 1:
            yield text


BLOCKS = list(blocks())
COMMANDS = list(dict.fromkeys([*(line for block in BLOCKS for line in block), *inline()]))
IN_TEXT = [[line] for line in COMMANDS if not any(line in block for block in BLOCKS)]


def treatment(command):
    """`parsed`, `not run` or `run`, by the first rule that fits."""
    if command.startswith(QUICK):
        return "run"
    for rules, name in ((PARSED, "parsed"), (NOT_RUN, "not run")):
        if command.startswith(tuple(rules)):
            return name
    return "run"


def test_readme_has_the_commands_this_file_was_written_for():
    assert len(COMMANDS) > 25
    for program in ("make", "python", "dvc", "mlflow", "prefect", "curl"):
        assert any(line.startswith(program) for line in COMMANDS), program


class StartedError(Exception):
    """What a flow would have been started with."""


def options_of(command, monkeypatch):
    """Have a flow's module parse its command line; what it would start the flow with."""

    def started(flow, **options):
        raise StartedError(options)

    monkeypatch.setattr(command_line, "run_flow", started)
    monkeypatch.setattr(process, "leave_after_exit_handlers", dict)
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    monkeypatch.setattr(sys, "argv", words[2:])
    with pytest.raises(StartedError) as caught:
        runpy.run_module(words[2], run_name="__main__")
    return caught.value.args[0]


def parse(command, monkeypatch):
    if command.startswith("make "):
        dry = subprocess.run(["make", "-n", "-W", "pyproject.toml", *shlex.split(command)[1:]], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout  # fmt: skip
        started = re.findall(r"^@?(\.venv/bin/(?:python -m (?!venv)|pytest).*)", dry, re.MULTILINE)
        assert started, dry
        for line in started:
            if "python -m" in line:
                parse(line.removeprefix(".venv/bin/"), monkeypatch)
    elif re.match(r"python -m flows\.(?!ui\b|reproduce\b)", command):
        options = options_of(command, monkeypatch)
        pipeline = open_pipeline(options.get("pipeline", "default"), ROOT)
        open_workspace(ROOT, options["preset"], options.get("overrides", {}), pipeline)  # the values fit the schema
    else:
        module = shlex.split(command)[2]
        text = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, check=True, capture_output=True,
                              text=True).stdout  # fmt: skip
        assert all(option.split("=")[0] in text for option in shlex.split(command) if option.startswith("--"))


@pytest.mark.parametrize("command", [c for c in COMMANDS if treatment(c) == "parsed"])
def test_a_long_command_is_understood(command, monkeypatch):
    parse(command, monkeypatch)


def test_a_wrong_override_would_be_noticed(monkeypatch):
    with pytest.raises(ValueError, match="no such parameter"):
        parse("python -m flows.lineage --set ppo.kl_coeff=0.1", monkeypatch)
    with pytest.raises(subprocess.CalledProcessError):
        parse("make runn", monkeypatch)


@pytest.fixture(scope="module")
def repository(finished, tmp_path_factory):
    """A copy with every stage done on tiny data, by the other door of README, and a champion."""
    assert "python -m flows.lineage --until ingest && dvc repro" in COMMANDS  # as the fixture did
    repository = finished.copy(tmp_path_factory.mktemp("readme") / "home")
    store = repository.client()
    version = store.get_model_version_by_alias("gpt-ppo", "candidate").version
    store.set_registered_model_alias("gpt-ppo", "champion", version)  # no gate opens for models as small as these
    make_aligned(repository.root / "artifacts/align")
    make_gpt2(repository.root / "gpt2")
    of_gpt2 = {"base_model_name_or_path": "gpt2"}
    adapters(repository.root / "adapter", {"transformer.h.0.attn.c_proj": (8, 8)}, said=of_gpt2)
    return repository


def make_aligned(folder: Path) -> None:
    """Models as the pipeline `align` leaves them: PPO's is the adopted one and a matrix of rank 1."""
    folder.mkdir(parents=True, exist_ok=True)
    chat = make_models(folder) / "chat"
    for name in ("adopt", "ppo"):
        model = load_gpt(chat)
        with torch.no_grad():
            model.blocks[0].attention.projection.weight[:, 3] += float(name == "ppo")
        save_model(folder / name / "model", model, chat / "tokenizer.json")
    (folder / "reward").rename(folder / "scores")
    (folder / "reward").mkdir()
    (folder / "scores").rename(folder / "reward/model")


def make_gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=16, n_embd=8, n_layer=1, n_head=1)).save_pretrained(folder)


# Commands that go on until they are stopped, and what they answer to once they are up.
SERVERS = {"mlflow models serve": "/ping", "prefect worker start": None}


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in BLOCKS + IN_TEXT if "run" in map(treatment, b)], ids=lambda b: b[0][:40])
def test_a_block_of_commands_runs_as_printed(repository, block, tmp_path):
    """In one shell, as a reader would; only ports are others', so that the test harms nobody's servers."""
    environment, running = dict(repository.environment), []
    ports = {"4200": str(free_port()), "5001": str(free_port())}
    if any("4200" in line for line in block):
        running.append(repository.start_server(int(ports["4200"])))
    try:
        for line in block:
            if treatment(line) != "run" or line.startswith(
                "python -m flows.lineage --until ingest && "
            ):  # the fixture has run it
                continue
            own = re.sub("4200|5001", lambda found: ports[found[0]], line)
            if line.startswith("export "):
                environment |= dict([own.removeprefix("export ").split("=", 1)])
            elif line.startswith(tuple(SERVERS)):
                running.append(start(own, repository, environment, ports, tmp_path))
            else:
                if line.startswith("python -m components.convert import"):
                    (repository.root / "gpt2/tokenizer.json").write_bytes(
                        (repository.root / "artifacts/prepare/tokenizer.json").read_bytes()
                    )
                process = subprocess.run(["bash", "-c", own], cwd=repository.root, env=environment, timeout=600,
                                         stdin=subprocess.DEVNULL, capture_output=True, text=True)  # fmt: skip
                assert process.returncode == 0, process.stdout + process.stderr
                if "predict" in line or line.startswith("curl"):
                    assert "assistant" in process.stdout, process.stdout + process.stderr
        databases = {str(p.relative_to(repository.root)) for p in repository.root.rglob("mlflow.db")}
        assert databases == {"mlruns/mlflow.db"}  # no stray one is made
    finally:
        for process in reversed(running):  # a worker whose server is gone first does not end
            os.killpg(process.pid, signal.SIGTERM) if process.args[0] == "bash" else process.terminate()
            process.wait(60)


def start(command, repository, environment, ports, tmp_path):
    """Start a server of README; returns once it is up."""
    log = tmp_path / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=repository.root, env=environment, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # by which Prefect ends its worker
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    path = next(path for name, path in SERVERS.items() if command.startswith(name))
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if path is None:
                if "started" in log.read_text():
                    return process
            else:
                with urllib.request.urlopen(f"http://127.0.0.1:{ports['5001']}{path}", timeout=1):
                    return process
        except OSError:
            pass
        time.sleep(0.3)
    process.kill()
    raise AssertionError(log.read_text())


def test_every_command_has_a_rule_and_every_rule_a_command():
    for rule in NOT_RUN:
        assert rule in README, f"README has no {rule} any more"
    known = ("dvc ", "mlflow models serve", "curl ", "python -c ", "python -m components.", "prefect ", "export ",
             *QUICK)  # fmt: skip
    unknown = [c for c in COMMANDS if treatment(c) == "run" and not c.startswith(known)]
    assert not unknown, f"README has commands that no rule of this file knows: {unknown}"
