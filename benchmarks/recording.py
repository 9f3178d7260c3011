"""Our own stages as a benchmark runs them: the real modules and Trainer, with a tracker that notes when steps end."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import params as parameters
from components.models.precision import resolve, training_device
from components.pipelines import open_pipeline
from components.process import keep_memory
from components.runtime import quiet_libraries
from components.tracking import SilentTracker
from components.work import Work

ROOT = Path(__file__).parents[1]


class RecordingTracker(SilentTracker):
    """Notes the time at which each training step's figures arrive."""

    moments: list[float]

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        if any(name.endswith("train/step_seconds") for name in values):
            self.moments.append(time.perf_counter())


def stage_in(folder: Path, name: str, overrides: Mapping[str, Any]) -> Work[Any]:
    """A stage with the repository's parameters but for some, writing below a folder."""
    keep_memory()
    quiet_libraries()
    tree = parameters.override(parameters.read_tree(ROOT / "params.yaml"), dict(overrides))
    # There is no lineage whose precision a stage could go on with.
    compute = tree["compute"]
    compute["precision"] = resolve(compute["precision"], training_device(compute["accelerator"]))
    pipeline = open_pipeline(root=ROOT)
    parameters.check(tree, pipeline, source="benchmark")
    section, shared = parameters.of_node(tree, pipeline, name)
    state, out = folder / "state" / name, folder / "artifacts" / name
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    out.mkdir(parents=True, exist_ok=True)
    tracker = RecordingTracker(name, pipeline, tree, state=state, artifacts=folder / "artifacts")
    tracker.moments = []
    return Work(name, pipeline, section, shared, out, state, state, tracker)
