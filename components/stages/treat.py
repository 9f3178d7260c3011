"""Treat: documents before they are pretrained on, step by step, as GPT-3's were (Brown et al. 2020, appendices A, C).

What cannot be learnt from, what stands there twice or nearly so, and what evaluations ask is taken out, shard by shard,
on this machine or on many. Writes the records that are left, what was taken and why, evaluation items of which nothing
was seen, and a report. Other kinds of records pass as they are.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from components.sections.base import Seed, section
from components.sections.seam import Seam
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Treat:
    """The steps, in their order; who works on shards, and the memory that joining them may take."""

    steps: Annotated[tuple[Annotated[Any, Seam("components.data.treatments")], ...], Field(min_length=1)]
    workers: Annotated[Any, Seam("components.data.workers")]
    memory_mb: Annotated[int, Field(ge=64, lt=2**24)] = 512


def run(work: "Work[Treat]") -> None:
    """The whole stage."""
    from components.data.treating.steps import treat

    treat(work)


STAGE = Stage(
    Treat,
    run,
    reads={"data": Kind.RECORDS},
    makes={"records": Kind.RECORDS, "items": Kind.ITEMS, "taken": Kind.DECISIONS, "report.md": Kind.REPORT},
    shared={"seed": Seed},
)
