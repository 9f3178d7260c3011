"""Which weights of a network train."""

from typing import Annotated, Literal

from pydantic import Field

from components.sections.base import Count, Positive, section


@section
class Full:
    """All weights of a model train."""

    kind: Literal["full"]


@section
class Lora:
    """A frozen trunk with trained adapters of a rank; what they add is scaled by alpha / rank (arXiv:2106.09685)."""

    kind: Literal["lora"]
    rank: Count
    alpha: Positive


Weights = Annotated[Full | Lora, Field(discriminator="kind")]
