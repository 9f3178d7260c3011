"""A DVC repository with stages that take no time, and a flow: python -m tests.flows.tiny FOLDER AT_ONCE walks it."""

import json
import subprocess
import sys
from pathlib import Path

import yaml
from prefect import flow
from prefect.states import State

from components.pipelines import open_pipeline
from flows.command import _end_as_with_ctrl_c
from flows.graph import judge, select
from flows.walk import StageFailed, Walk
from flows.workspace import Workspace
from tests.contracts.imports import ROOT

STEP = """
import sys, time
from pathlib import Path
name, seconds, *inputs = sys.argv[1:]
begun = time.time()
Path("begun-" + name).touch()
time.sleep(float(seconds))  # a stage of less than no time fails
out = Path("out") / name
out.mkdir(parents=True)
(out / "text").write_text(Path("params.yaml").read_text() + "".join(Path(each).read_text() for each in inputs))
with Path("times.txt").open("a") as file:
    file.write(f"{name} {begun} {time.time()}\\n")
"""
PIPELINE = open_pipeline(root=ROOT)  # its stages are not these: only how it names them counts
IGNORED = "times.txt\nbegun-*\n.prefect\n.lineage\n.server.log\n"


class Tiny:
    """A git and DVC repository: stages by what each uses, with the seconds that each takes."""

    def __init__(self, root: Path, stages: dict[str, str] | None = None, **seconds: float) -> None:
        self.root = root
        self.workspace = Workspace(root, root, {}, PIPELINE)
        if root.exists():
            return
        for folder in (".dvc", "data"):
            (root / folder).mkdir(parents=True)
        self.run("git", "init", "-q")
        (root / ".gitignore").write_text(IGNORED)
        (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (root / ".dvc/config").write_text("[core]\nanalytics = false\ncheck_update = false\n")
        (root / "step.py").write_text(STEP)
        (root / "data/raw").write_text("raw")
        self.dvc("add", "-q", "data")
        self.change(**dict.fromkeys(stages or {}, 1))
        graph = {name: _stage(name, uses.split(), seconds.get(name, 0)) for name, uses in (stages or {}).items()}
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}, sort_keys=False))

    def change(self, **values: object) -> None:
        """Write parameters, one a stage; those that are not given stay."""
        path = self.root / "params.yaml"
        tree = yaml.safe_load(path.read_text()) if path.exists() else {}
        path.write_text(yaml.safe_dump(tree | values))

    def run(self, *command: str) -> str:
        """The output of a command that must succeed."""
        done = subprocess.run(command, cwd=self.root, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        """The output of a DVC command that must succeed."""
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self) -> None:
        """Everything into git."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all")

    def recorded(self) -> set[str]:
        """The stages that dvc.lock has."""
        path = self.root / "dvc.lock"
        return set(yaml.safe_load(path.read_text())["stages"]) if path.exists() else set()

    def times(self) -> dict[str, tuple[float, float]]:
        """When each stage's command began and ended, the last time it ran."""
        rows = [line.split() for line in (self.root / "times.txt").read_text().splitlines()]
        return {name: (float(begun), float(ended)) for name, begun, ended in rows}


def _stage(name: str, uses: list[str], seconds: float) -> dict[str, object]:
    command = [sys.executable, "step.py", name, str(seconds), *(f"out/{each}/text" for each in uses)]
    # The first by its folder, others by the file in it: both are ways to use an output.
    inputs = [*(f"out/{each}" for each in uses[:1]), *(f"out/{each}/text" for each in uses[1:])] or ["data"]
    return {"cmd": " ".join(command), "deps": ["step.py", *inputs], "params": [name], "outs": [f"out/{name}"]}


class Nobody:
    """In the place of the lineage's run in MLflow."""

    def start(self) -> str:
        """No run."""
        return ""

    def link(self, stage: str, state: str) -> None:
        """Nothing to link to."""


@flow
def walk(root: Path, at_once: int) -> dict[str, str]:
    """Bring everything up to date; what each stage's state says."""
    judged = judge(root, Path("dvc.yaml"))
    states: dict[str, State] = {}
    Walk(Workspace(root, root, {}, PIPELINE), judged, Nobody(), states, at_once=at_once).go(
        select(judged.graph, until=None, start=None)
    )
    return {stage: f"{state.name}: {state.message}" for stage, state in states.items()}


if __name__ == "__main__":
    _end_as_with_ctrl_c()
    try:
        print(json.dumps(walk(Path(sys.argv[1]), int(sys.argv[2]))))
    except StageFailed as error:
        sys.exit(f"{error}")
