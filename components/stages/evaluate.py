"""Evaluate: models on held-out data, before referees that nothing compared was trained on, and the gates.

What is measured is a list of tasks (components/tasks). Writes metrics.json and its headline, the replies of each model
side by side, and a report as Markdown and HTML. A model's newest registered version becomes champion when its gate
passes. Choices are made on the validation split (`evaluate.split`), where no gate opens; the test split is for what is
reported.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from components.gates import Gates
from components.sections.base import BatchSize, Count, Seed, section
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.sections.seam import Seam
from components.stage import Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Evaluate:
    """Measuring models on a held-out split: prompts, comparisons, and the first `text_windows` windows of text."""

    split: Literal["validation", "test"]  # choices are made on validation; what is published is of test
    tasks: Annotated[tuple[Annotated[Any, Seam("components.tasks")], ...], Field(min_length=1)]
    num_prompts: Count
    text_windows: Count
    batch_size: BatchSize
    report_samples: Count


def run(work: "Work[Evaluate]") -> None:
    """The whole stage."""
    from components.tasks.evaluation import evaluate

    evaluate(work)


STAGE = Stage(
    Evaluate,
    run,
    reads={
        "models": Several(Kind.LANGUAGE_MODEL),  # the last one has the tokenizer with which all chat
        "plain": Several(Kind.LANGUAGE_MODEL),  # those of the models that know no chat
        "reference": Several(Kind.LANGUAGE_MODEL),  # the one of the models that others are compared with
        "reward": Several(Kind.SCALAR_MODEL),
        "judge": Several(Kind.SCALAR_MODEL),
        "classifiers": Several(Kind.CLASSIFIER),
        "labeler": Several(Kind.LABELER),
        "validation": Several(Kind.COMPARISONS),
        "test": Several(Kind.COMPARISONS),
        "prompts": Several(Kind.PROMPTS),
        "tokens": Several(Kind.TOKENS),
        "demonstrations": Several(Kind.DEMONSTRATIONS),
        "figures": Several(Kind.FIGURES),
        "calibration": Several(Kind.CURVE),
        "curves": Several(Kind.CURVE),
    },
    makes={"replies.jsonl": Kind.REPLIES, "report.md": Kind.REPORT, "report.html": Kind.REPORT},
    shared={
        "seed": Seed,
        "compute.accelerator": Compute,
        "compute.precision": Compute,
        "generation": Generation,
        "limits.context_length": Limits,
        "limits.max_prompt_tokens": Limits,
        "gates": Gates,
    },
    headline="headline.json",
    plots="plots",
)
