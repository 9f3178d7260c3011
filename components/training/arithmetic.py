"""The arithmetic of a lineage: one precision from pretraining to evaluation, and the device a stage computes on."""

import torch

from components.checkpoints import recorded_precision
from components.models.precision import resolve, training_device
from components.runtime import Work

# What stages call the language model that they start from, whose folder says what a lineage is computed in.
STARTS = ("base", "policy", "sft")


def device_of(stage: Work) -> torch.device:
    """Where a stage computes: the device that Lightning trains on."""
    return torch.device(training_device(stage.params.compute.accelerator))


def precision_of(stage: Work) -> str:
    """The precision of a stage's lineage, a name of Lightning's.

    `auto` is decided once, by pretrain: it is kept with pretrain's checkpoints, written into every model's folder, and
    read from there by the stages that start from one. So a lineage is of one precision wherever its stages run.
    """
    requested: str = stage.params.compute.precision
    if requested == "auto":
        folder = next((stage.inputs[name] for name in STARTS if name in stage.inputs), None)
        requested = (recorded_precision(folder) if folder else None) or "auto"
    if requested == "auto":
        settled = stage.state / "precision.txt"
        if not settled.exists():
            settled.write_text(resolve("auto", device_of(stage).type))
        requested = settled.read_text()
    precision = resolve(requested, device_of(stage).type)
    stage.metrics["precision"] = precision
    stage.tracker.note("precision", precision)
    return precision
