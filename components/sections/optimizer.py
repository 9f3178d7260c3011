"""How weights are updated, and for how many steps."""

from typing import Literal

from pydantic import model_validator

from components.sections.base import BatchSize, Count, Fraction, NaturalNumber, NonNegative, Positive, section


@section
class Optimizer:
    """AdamW for all weights, or Muon for the matrices and AdamW for the rest."""

    name: Literal["adamw", "muon"]
    learning_rate: Positive
    matrix_learning_rate: NonNegative
    weight_decay: NonNegative
    gradient_clip: Positive
    warmup_steps: NaturalNumber
    decay: Literal["constant", "linear", "cosine"]
    decay_fraction: Fraction
    final_fraction: Fraction

    @model_validator(mode="after")
    def _rates_are_used(self) -> "Optimizer":
        if (self.name == "muon") != (self.matrix_learning_rate > 0):
            raise ValueError("matrix_learning_rate is Muon's: positive with muon, 0 with adamw")
        if (self.decay == "constant") != (self.decay_fraction == 0):
            raise ValueError("decay_fraction is 0 with a constant schedule and positive with any other")
        return self

    def warmup_problem(self, steps: int, unit: str) -> str | None:
        """What is wrong where the full rate is not reached within a stage's steps."""
        if self.warmup_steps <= steps:
            return None
        return f"warmup_steps {self.warmup_steps} goes on beyond the end: there are {steps} {unit}"


@section
class Steps:
    """What every stage has that trains one network for a number of steps."""

    max_steps: Count
    checkpoint_interval: Count
    optimizer: Optimizer

    @model_validator(mode="after")
    def _rate_is_reached(self) -> "Steps":
        if problem := self.optimizer.warmup_problem(self.max_steps, "steps"):
            raise ValueError(f"optimizer.{problem}")
        return self


@section
class Imitation(Steps):
    """What every stage has that fine-tunes on given conversations; a batch is `batch_size` rows."""

    batch_size: BatchSize
    validation_interval: Count
    validation_batches: Count
