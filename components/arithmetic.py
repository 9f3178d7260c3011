"""The arithmetic of a lineage: one precision from pretraining to evaluation, and the device a stage computes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from components.checkpoints import recorded_precision
from components.models.precision import resolve, training_device
from components.stage import Kind, Several
from components.work import Work


def device_of(stage: Work[Any]) -> torch.device:
    """Where a stage computes: the device that Lightning trains on."""
    return torch.device(training_device(stage.compute.accelerator))


def precision_of(stage: Work[Any]) -> str:
    """The precision of a stage's lineage, a name of Lightning's.

    `auto` is decided once, by pretrain: it is kept with pretrain's checkpoints, written into every model's folder, and
    read from there by the stages that start from one. So a lineage is of one precision wherever its stages run.
    """
    requested: str = stage.compute.precision
    if requested == "auto":
        folder = next(_language_models(stage), None)
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


def _language_models(stage: Work[Any]) -> Iterator[Path]:
    """The folders of the language models that a stage is fed, which say what a lineage is computed in."""
    reads = stage.pipeline.stages[stage.name].reads
    for name, kind in reads.items():
        if (kind.kind if isinstance(kind, Several) else kind) == Kind.LANGUAGE_MODEL:
            yield from (folder for folder in stage.read_all(name).values() if folder.exists())
