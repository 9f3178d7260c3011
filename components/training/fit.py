"""Training through Lightning: the module every stage extends, and the Trainer that runs it."""

import logging
import math
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim import Optimizer as TorchOptimizer
from torch.utils.data import DataLoader, IterableDataset

from components.arithmetic import device_of, precision_of
from components.progress import Progress
from components.rates import TIMINGS
from components.runtime import StageStopped
from components.sections.compute import Compute
from components.sections.optimizer import Optimizer as OptimizerParams
from components.training.checkpointing import SafetensorsCheckpointIO, newest_intact
from components.training.history import History
from components.training.optim import build_optimizers, clip_gradients, learning_rate_factor, set_learning_rates
from components.work import Work

logger = logging.getLogger(__name__)
NAMED = 5  # weights in a message
KEPT = "The checkpoint before is kept; with other parameters or rows the stage starts anew"


class LossNotFinite(StageStopped):
    """A loss is NaN or infinite; the message names the step and its rows."""


class GradientNotFinite(StageStopped):
    """A gradient is NaN or infinite though the loss is not; no weight has followed it."""


class WeightsNotFinite(StageStopped):
    """Weights are NaN or infinite; they are neither kept as a checkpoint nor published."""


class UnfinishedTraining(RuntimeError):
    """Training ended before its planned steps; a stage that did this has not succeeded."""


class TrainingModule(LightningModule):
    """Manual optimisation, counted in our own steps: a step of PPO updates two networks many times.

    A step's data and randomness are functions of (seed, step), so a checkpoint needs no random state and no data
    cursor beyond `step`, and a resumed run repeats an uninterrupted one exactly.
    """

    step: Tensor
    tokens: int = 0  # real ones of the step just done, of this process; a prompt counts with each of its replies

    def __init__(self, stage: Work[Any], *, total_steps: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.stage = stage
        self.total_steps = total_steps
        self.precision: Any = precision_of(stage)
        self.history = History(stage.scratch / "history.jsonl")
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def rows(self, step: int) -> list[int]:
        """Which rows of its data a step takes, over all processes."""

    @abstractmethod
    def make_batch(self, step: int) -> Any:
        """The data of a step, this process's share of it."""

    @abstractmethod
    def train_on(self, batch: Any, step: int) -> dict[str, float]:
        """Update on a step's data and count its `tokens`; the figures to log, without the `<stage>/` prefix."""

    def training_step(self, batch: Any, batch_index: int) -> None:
        """Lightning's hook: one step, timed and logged."""
        step = int(self.step)
        started = time.monotonic()
        with self.stage.rates.timed("train/step") as lap:
            figures = self.train_on(batch, step)
            lap.tokens = self.tokens
        figures |= {"train/step_seconds": time.monotonic() - started, **self.stage.rates.latest()}
        self.step += 1
        self.log_figures(figures)

    def log_figures(self, figures: dict[str, float]) -> None:
        """Keep figures of the current step in the stage's history and send them to the tracker."""
        self.history.append(int(self.step), {key: value for key, value in figures.items() if not key.endswith(TIMINGS)})
        self.stage.tracker.log_metrics({f"{self.stage.name}/{key}": v for key, v in figures.items()}, int(self.step))

    def accumulate(self, loss: Tensor) -> None:
        """Add the gradients of one part of an update's loss: a micro-batch, or this process's rows of the batch.

        The parts are divided by the count of the whole update (`masked_mean`), so they add up; data-parallel
        strategies average over processes, which the factor undoes.

        Raises:
            LossNotFinite: names the step and its rows.
        """
        if not torch.isfinite(loss):
            step = int(self.step)
            raise LossNotFinite(
                f"the loss of step {step} is {loss.item()}; its rows are {self.rows(step)}. "
                f"Lower the learning rate or mend the rows. {KEPT}"
            )
        self.manual_backward(loss * self.trainer.world_size)

    def apply_gradients(self, network: nn.Module, optimizers: list[TorchOptimizer], params: OptimizerParams) -> float:
        """One optimizer step of a network at this step's learning rate; the gradient norm before clipping.

        Raises:
            GradientNotFinite: before any weight moves; clipping would make every weight NaN.
        """
        norm = float(clip_gradients(network, params.gradient_clip))
        if not math.isfinite(norm):
            step = int(self.step)
            raise GradientNotFinite(
                f"the gradient of step {step} has the norm {norm} though its loss is finite; its rows are "
                f"{self.rows(step)}. Lower the learning rate, warm up for longer, or train in 32-true "
                f"(compute.precision). {KEPT}"
            )
        set_learning_rates(optimizers, learning_rate_factor(params, int(self.step), self.total_steps))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return norm

    def check_weights(self) -> None:
        """See that what is about to be kept can be gone on from.

        Raises:
            WeightsNotFinite: names the weights.
        """
        broken = [name for name, weight in self.named_parameters() if not torch.isfinite(weight).all()]
        if broken:
            raise WeightsNotFinite(
                f"after step {int(self.step) - 1} the weights {', '.join(broken[:NAMED])}"
                f"{f' and {len(broken) - NAMED} more' if len(broken) > NAMED else ''} are not finite. "
                f"Lower the learning rate. {KEPT}"
            )

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.trainer.world_size == 1:
            return value
        return self.trainer.strategy.reduce(value.clone(), reduce_op="sum")  # type: ignore[return-value]

    def largest(self, value: Tensor) -> Tensor:
        """The largest of a scalar's values over all processes."""
        if self.trainer.world_size == 1:
            return value
        return self.trainer.strategy.reduce(value.clone(), reduce_op="max")  # type: ignore[return-value]

    @property
    def seed(self) -> int:
        """The lineage's seed, plus the stage's own offset where it has one."""
        return int(self.stage.seed)

    def share(self, rows: Any) -> Any:
        """This process's rows of a batch that is split among data-parallel processes."""
        return rows[self.global_rank :: self.trainer.world_size]


class SupervisedModule(TrainingModule):
    """A module that minimises one loss over one network."""

    def __init__(self, stage: Work[Any], network: nn.Module, optimizer: OptimizerParams, *, total_steps: int) -> None:
        super().__init__(stage, total_steps=total_steps)
        self.network = network
        self.optimizer_params = optimizer

    def configure_optimizers(self) -> list[TorchOptimizer]:
        return build_optimizers(self.network, self.optimizer_params)

    def minimise(self, loss: Tensor) -> float:
        """Update the network; the gradient norm before clipping."""
        self.accumulate(loss)
        optimizers = self.optimizers()
        return self.apply_gradients(
            self.network, optimizers if isinstance(optimizers, list) else [optimizers], self.optimizer_params
        )


class _Steps(IterableDataset[Any]):
    """The batches from the module's present step to its last."""

    def __init__(self, module: TrainingModule) -> None:
        self.module = module

    def __iter__(self) -> Iterator[Any]:
        for step in range(int(self.module.step), self.module.total_steps):
            yield self.module.make_batch(step)


class _Housekeeping(Callback):
    """Progress, checkpoints and periodic validation of a run."""

    def __init__(self, stage: Work[Any], *, checkpoint_interval: int, validate_every: int, unit: str) -> None:
        self.stage, self.unit = stage, unit
        self.checkpoint_interval = checkpoint_interval
        self.validate_every = validate_every

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.progress = Progress(module.total_steps, self.unit, done=int(module.step))

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        assert isinstance(module, TrainingModule)
        step = int(module.step)
        self.progress.advance(note=getattr(module, "note", ""))
        if self.validate_every and (step % self.validate_every == 0 or step == module.total_steps):
            module.log_figures(module.validate())  # type: ignore[operator]
        if step % self.checkpoint_interval == 0:
            module.check_weights()
            self.stage.tracker.flush()  # what a resumed run will not repeat must have been sent
            trainer.save_checkpoint(self.stage.state / f"step-{step:08d}")


def fit(
    stage: Work[Any], module: TrainingModule, *, checkpoint_interval: int, unit: str = "steps", validate_every: int = 0
) -> None:
    """Train a module for its planned steps, from its newest intact checkpoint if there is one.

    Raises:
        UnfinishedTraining: fewer steps ran than were planned.
        StageStopped: a loss, gradient or weight is not finite, or `compute` asks for what this machine has not.
    """
    resume_from = newest_intact(stage.state)
    if resume_from is not None:
        logger.info("resuming from %s", resume_from)
    module.history.truncate(0 if resume_from is None else int(resume_from.name.removeprefix("step-")))
    logger.info("training in %s on %s", module.precision, device_of(stage).type)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = _trainer(
        stage,
        module,
        _Housekeeping(stage, checkpoint_interval=checkpoint_interval, validate_every=validate_every, unit=unit),
    )
    loader = DataLoader(_Steps(module), batch_size=None)
    trainer.fit(module, loader, ckpt_path=None if resume_from is None else str(resume_from))
    if int(module.step) != module.total_steps:
        raise UnfinishedTraining(f"{int(module.step)} of {module.total_steps} steps ran")
    module.check_weights()
    module.history.export(stage.path("history.csv"))


def _trainer(stage: Work[Any], module: TrainingModule, housekeeping: Callback) -> Trainer:
    """Lightning's Trainer for the machine that `compute` names.

    Raises:
        StageStopped: this machine has fewer devices, or Lightning does not know what is asked for.
    """
    compute, device_type = stage.compute, device_of(stage).type
    # Processes may share a processor, as two do to see what data-parallel training makes; crowds only starve it.
    present = torch.cuda.device_count() if device_type == "cuda" else max(2, os.cpu_count() or 1)
    if compute.devices > present:
        raise StageStopped(f"compute.devices is {compute.devices}, and this machine has {present} ({device_type})")
    try:
        return Trainer(
            accelerator=compute.accelerator,
            devices=compute.devices,
            # A step of PPO updates two networks in turn, each time leaving the other's weights without gradients.
            strategy="ddp_find_unused_parameters_true"
            if compute.devices > 1 and compute.strategy == "auto"
            else compute.strategy,
            precision=module.precision,
            # Else compiled code adds up the gradients of a token's occurrences in whatever order its threads come by.
            deterministic=device_type == "cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            plugins=[SafetensorsCheckpointIO()],
            callbacks=[housekeeping],
        )
    except (ValueError, MisconfigurationException) as error:
        raise StageStopped(f"Lightning refuses `compute` of params.yaml: {error}") from error


def compiled(function: Callable[..., Tensor], params: Compute) -> Callable[..., Tensor]:
    """The function through torch.compile where asked for and a C++ compiler is at hand (CPU); else as it is."""
    if not params.compile:
        return function
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None and not torch.cuda.is_available():
        logger.warning("compute.compile: no C++ compiler found, running uncompiled (slower, same results to rounding)")
        return function
    return torch.compile(function)
