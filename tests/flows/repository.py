"""A small copy of the repository: its own git, DVC, store and Prefect home, tiny data and tiny models."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.contracts.imports import ROOT

TINY = {
    "ingest.source": {"kind": "folder", "path": "raw"},
    "prepare.vocab_size": 400,
    "prepare.validation_fraction": 0.1,
    "prepare.test_fraction": 0.2,
    "limits.max_prompt_tokens": 24,
    "model.shape": "1x32x2",
    "limits.context_length": 40,
    "compute.compile": False,
    "compute.precision": "32-true",
    "pretrain.max_steps": 6,
    "pretrain.optimizer.warmup_steps": 1,
    "pretrain.batch_size": 4,
    "pretrain.validation_interval": 3,
    "pretrain.checkpoint_interval": 2,
    "sft.max_steps": 4,
    "sft.optimizer.warmup_steps": 1,
    "sft.batch_size": 4,
    "limits.max_demonstration_tokens": 40,
    "sft.validation_interval": 2,
    "sft.checkpoint_interval": 2,
    "generation.max_new_tokens": 8,
    "compare.num_prompts": 24,
    "compare.replies_per_prompt": 3,
    "compare.test_fraction": 0.4,
    "reward.epochs": 1,
    "reward.prompts_per_batch": 4,
    "reward.checkpoint_interval": 2,
    "ppo.iterations": 2,
    "ppo.policy.warmup_steps": 1,
    "ppo.algorithm.value.warmup_steps": 1,
    "ppo.rollout_batch_size": 8,
    "ppo.minibatch_size": 4,
    "ppo.microbatch_size": 2,
    "ppo.pretrain_batch_size": 2,
    "ppo.checkpoint_interval": 1,
    "ppo.stops": {
        "kl_per_reply": 1e6,
        "entropy_share": 0.0,
        "distinct_2_share": 0.0,
        "response_tokens_share": 0.0,
        "ended_share": 0.0,
    },  # the models of these tests say anything
    "dpo.max_steps": 3,
    "dpo.optimizer.warmup_steps": 1,
    "dpo.prompts_per_batch": 4,
    "dpo.checkpoint_interval": 1,
    "feedme.max_steps": 3,
    "feedme.optimizer.warmup_steps": 1,
    "feedme.batch_size": 4,
    "feedme.validation_interval": 2,
    "feedme.checkpoint_interval": 1,
    "evaluate.num_prompts": 16,
    "evaluate.text_windows": 64,
}
WORDS = tuple("the a dog cat house sea runs likes blue warm today hello you are nice what do think fine thanks".split())


class Repository:
    """Runs commands in the copy as a user would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PREFECT_", "MLFLOW_", "GPTLINEAGE_", "GIT_"))
        } | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(root / ".prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in a group of its own; stdout and stderr come as one text."""
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, text=True, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a script's background jobs ignore it
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def start_server(self, port: int) -> "subprocess.Popen[str]":
        """Start a Prefect server for the copy's flows: an ephemeral one each would cost them ten seconds."""
        command = ("python", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
        with (self.root / ".server.log").open("w") as log:
            server = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=1):
                    return server
            except OSError:
                time.sleep(0.2)
        server.kill()
        raise AssertionError((self.root / ".server.log").read_text())

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command to its end; its output. A failure shows it."""
        process = self.start(*command)
        output, _ = process.communicate(timeout=600)
        assert not check or process.returncode == 0, output
        return output

    def flow(self, *arguments: str, name: str = "lineage", until: str | None = None, check: bool = True) -> str:
        """Trigger a flow from the command line; `until` is the stage that it ends with."""
        end = ("--until", until) if until else ()
        return self.run("python", "-m", f"flows.{name}", *end, *arguments, check=check)

    def dvc(self, *arguments: str, check: bool = True) -> str:
        """Run a DVC command."""
        return self.run("dvc", *arguments, check=check)

    def client(self) -> MlflowClient:
        """Its store."""
        return MlflowClient(f"sqlite:///{self.root}/mlruns/mlflow.db")

    def runs(self, query: str) -> list[Run]:
        """The runs in its store that a query finds, the newest first."""
        experiment = self.client().get_experiment_by_name("gptlineage").experiment_id
        return list(self.client().search_runs([experiment], query, order_by=["attributes.start_time DESC"]))

    def stage_process(self, stage: str) -> psutil.Process | None:
        """The process that runs a stage in it or in one of its copies, if any."""
        for process in psutil.process_iter(["cmdline"]):
            if (process.info["cmdline"] or [])[1:4] == ["-m", "components.stages", stage]:
                with contextlib.suppress(psutil.Error):
                    if str(self.root) in process.cwd():
                        return process
        return None

    def copy(self, root: Path) -> "Repository":
        """The same repository at another place, with all that ran in it."""
        shutil.copytree(self.root, root, symlinks=True)
        return Repository(root)

    def set(self, **changes: object) -> None:
        """Edit params.yaml; section__key=value."""
        path = self.root / "params.yaml"
        path.write_text(edited(path.read_text(), {k.replace("__", "."): v for k, v in changes.items()}))


def edited(text: str, changes: dict[str, object]) -> str:
    """A parameter file with dotted keys replaced."""
    tree = yaml.safe_load(text)
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        node = tree
        for key in parents:
            node = node[key]
        node[leaf] = value
    return yaml.safe_dump(tree, sort_keys=False)


def make_repository(root: Path, *, tiny: bool = True) -> Repository:
    """A committed copy of the working tree; with tiny parameters and data made here, or with those of the project.

    A tiny one has the default pipeline alone: `dvc status` and `dvc exp apply` look at all, and would find what was
    never run.
    """
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0"):
        source = ROOT / name
        left_out = name in {"dvc.lock", "data.dvc"} or re.match(r"pipelines/(?!default/)[^/]+/", name)
        if name and source.is_file() and not (tiny and left_out):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)
    if tiny:
        (root / "params.yaml").write_text(edited((root / "params.yaml").read_text(), TINY))
        deployments = root / "prefect.yaml"
        deployments.write_text(re.sub(r".*parameters: \{pipeline: .*\n", "", deployments.read_text()))
        write_conversations(root / "raw" / "talk.jsonl")
    repository = Repository(root)
    for command in ("init -q", "add -A", "-c user.name=t -c user.email=t@example.org commit -qm start"):
        repository.run("git", *command.split())
    return repository


def write_conversations(path: Path, count: int = 150) -> None:
    """Random conversations of made-up sentences, the same ones every time."""
    rng = random.Random(0)
    path.parent.mkdir(parents=True)
    with path.open("w") as out:
        for number in range(count):
            turns = [" ".join(rng.choices(WORDS, k=rng.randint(2, 7))) + rng.choice(".!?") for _ in range(6)]
            messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
            out.write(json.dumps({"id": f"c{number}", "messages": messages}) + "\n")
