"""What a section of a parameter file is made of: a frozen, strict dataclass, and ranges of numbers."""

from typing import Annotated, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Section = TypeVar("Section")

# Limits are far beyond what one machine does in a step or a run: what is larger is a slip of the pen.
Count = Annotated[int, Field(ge=1, lt=2**31)]
NaturalNumber = Annotated[int, Field(ge=0, lt=2**31)]
BatchSize = Annotated[int, Field(ge=1, le=2**17)]  # rows
Seed = Annotated[int, Field(ge=0, lt=2**32)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(kind: type[Section]) -> type[Section]:
    """Make a class of annotated fields a section: its values are checked, and never change."""
    return cast("type[Section]", dataclass(frozen=True, kw_only=True, config=STRICT)(kind))
