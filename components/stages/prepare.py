"""Prepare: clean, de-duplicate and split the records; train the tokenizer, or take a model's; write token files and
prompts.

Writes the tokenizer, one token file a split, demonstrations to fine-tune on, disjoint prompts for compare and ppo, for
every choice (validation) and for the last word (test), and a report of what was kept, cut and dropped, and why.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from components.sections.base import Count, NaturalNumber, OpenFraction, section
from components.sections.limits import Limits
from components.sections.seam import Seam
from components.stage import Kind, Several, Stage

if TYPE_CHECKING:
    from components.stage import Node
    from components.work import Work


SMALLEST_VOCABULARY = 300


@section
class Prepare:
    """Cleaning, splits and tokenizer; fractions are of conversations, decided by a hash of their group.

    `workers` says who works on shards, `memory_mb` what joining them may take.
    """

    vocab_size: Annotated[int, Field(ge=0, le=2**32)]  # 0: no tokenizer is trained, that of the model `base` is taken
    max_records: NaturalNumber  # read this many and no more, half of each kind; 0 for all
    workers: Annotated[Any, Seam("components.data.workers")]
    validation_fraction: OpenFraction
    test_fraction: OpenFraction
    demonstration_fraction: OpenFraction
    prompts_per_conversation: Count
    memory_mb: Annotated[int, Field(ge=64, lt=2**24)] = 512

    @model_validator(mode="after")
    def _training_data_remains(self) -> "Prepare":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        if 0 < self.vocab_size < SMALLEST_VOCABULARY:
            raise ValueError(f"vocab_size is {self.vocab_size}: bytes and markers alone need {SMALLEST_VOCABULARY}")
        return self

    def unwired(self, node: "Node") -> Iterator[str]:
        """What does not go together with what feeds the node."""
        if (fed := bool(node.inputs.get("base"))) == bool(self.vocab_size):
            yield f"vocab_size is {self.vocab_size}, and " + (
                f"the model that feeds {node.name} as `base` brings a tokenizer: 0 takes it"
                if fed
                else f"no model feeds {node.name} as `base` whose tokenizer could be taken"
            )


def run(work: "Work[Prepare]") -> None:
    """The whole stage."""
    from components.data.preparation import prepare

    prepare(work)


STAGE = Stage(
    Prepare,
    run,
    reads={"data": Kind.RECORDS, "base": Several(Kind.LANGUAGE_MODEL)},
    makes={
        "tokenizer.json": Kind.TOKENIZER,
        "tokens": Kind.TOKENS,
        "demonstrations": Kind.DEMONSTRATIONS,
        "prompts": Kind.PROMPTS,
        "comparisons.jsonl": Kind.COMPARISONS,
        "report.md": Kind.REPORT,
    },
    shared={"limits": Limits},
)
