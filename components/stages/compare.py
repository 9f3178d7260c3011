"""Compare: the SFT model samples K replies a prompt and a labeler ranks them (InstructGPT, section 3.4).

Writes `train`, `judge`, `validation` and `test` comparisons, split by conversation: choices are made on validation,
test is evaluate's. The simulated labeler ranks by a gold score plus noise (see components/labeling). The file labeler
takes the comparisons that the user's data hold, the people labeler those that people answered on the labelling page
(components/stages/gather.py); what people like has no formula, so half of what could train goes to `judge`, for the
reward model that referees (components/stages/reward.py).
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.sections.base import Count, NonNegative, OpenFraction, Seed, section
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.stage import Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class SimulatedLabeler:
    """Scores replies with the gold function plus noise; two such labelers agree on `agreement` of the pairs."""

    kind: Literal["simulated"]
    agreement: Annotated[float, Field(gt=0.5, lt=1)]
    tie_margin: NonNegative


@section
class FileLabeler:
    """Comparisons of the user's own: K-wise `replies` and `ranks`, or `chosen` and `rejected`."""

    kind: Literal["file"]


@section
class PeopleLabeler:
    """Comparisons that people made of sampled replies: those of every `gather` that feeds the node."""

    kind: Literal["people"]


@section
class Compare:
    """Sampling replies and having them ranked; `replies_per_prompt` is K."""

    num_prompts: Count
    replies_per_prompt: Annotated[int, Field(ge=2, le=9)]
    validation_fraction: OpenFraction
    test_fraction: OpenFraction
    labeler: Annotated[SimulatedLabeler | FileLabeler | PeopleLabeler, Field(discriminator="kind")]


def run(work: "Work[Compare]") -> None:
    """The whole stage."""
    from components.labeling.collecting import collect

    collect(work)


STAGE = Stage(
    Compare,
    run,
    reads={
        "policy": Kind.LANGUAGE_MODEL,
        "prompts": Kind.PROMPTS,
        "demonstrations": Kind.DEMONSTRATIONS,
        "comparisons": Kind.COMPARISONS,
        "people": Several(Kind.COMPARISONS),
    },
    makes={
        **{f"{split}.jsonl": Kind.COMPARISONS for split in ("train", "judge", "validation", "test")},
        "labeler.json": Kind.LABELER,
    },
    shared={
        "seed": Seed,
        "compute.accelerator": Compute,
        "compute.precision": Compute,
        "generation": Generation,
        "limits.max_prompt_tokens": Limits,
    },
)
