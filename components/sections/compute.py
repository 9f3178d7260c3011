"""How the arithmetic is done."""

from typing import Annotated, Literal

from pydantic import Field

from components.sections.base import section


@section
class Compute:
    """How the arithmetic is done. Part of every training stage's identity, since it changes the numbers."""

    precision: Literal["auto", "32-true", "bf16-mixed"]
    compile: bool
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Annotated[int, Field(ge=1, le=64)]  # of one machine
    strategy: str
