"""What the sections of `params.yaml` share: number ranges, the optimizer, and which weights train."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

# Limits are far beyond what one machine does in a step or a run: what is larger is a slip of the pen.
Count = Annotated[int, Field(ge=1, lt=2**31)]
NaturalNumber = Annotated[int, Field(ge=0, lt=2**31)]
BatchSize = Annotated[int, Field(ge=1, le=2**17)]  # rows
Seed = Annotated[int, Field(ge=0, lt=2**32)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Full:
    """All weights of a model train."""

    kind: Literal["full"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Lora:
    """A frozen trunk with trained adapters of a rank; what they add is scaled by alpha / rank (arXiv:2106.09685)."""

    kind: Literal["lora"]
    rank: Count
    alpha: Positive


Weights = Annotated[Full | Lora, Field(discriminator="kind")]
