"""Rounds of our own trainer: `fit`, as every stage calls it, for some more steps of a module."""

from typing import Any

from benchmarks.recording import RecordingTracker
from components.training.fit import TrainingModule, fit
from components.work import Work

NEVER = 10**9  # steps
LORA = {"kind": "lora", "rank": 16, "alpha": 32.0}  # as the peers'


def optimizer(name: str) -> dict[str, Any]:
    """An optimizer section: AdamW or Muon at a small constant rate."""
    return {
        "name": name,
        "learning_rate": 1e-4,
        "matrix_learning_rate": 1e-3 if name == "muon" else 0.0,
        "weight_decay": 0.1,
        "gradient_clip": 1.0,
        "warmup_steps": 0,
        "decay": "constant",
        "decay_fraction": 0.0,
        "final_fraction": 1.0,
    }


def train(stage: Work[Any], module: TrainingModule, steps: int) -> tuple[range, float]:
    """Run steps + 1 more steps; the numbers of the last `steps` and the seconds they took."""
    assert isinstance(stage.tracker, RecordingTracker)
    stage.tracker.moments.clear()
    first = int(module.step)
    module.total_steps = first + steps + 1
    fit(stage, module, checkpoint_interval=NEVER)
    moments = stage.tracker.moments
    return range(first + 1, first + steps + 1), moments[-1] - moments[0]
