"""Evaluate: every stage's model on held-out data, before referees that nothing compared was trained on, and the gates.

Writes metrics.json and its headline, the replies of each model side by side, and a report as Markdown and HTML. A
stage's newest registered version becomes champion when its gate passes. Choices are made on the validation split
(`evaluate.split`), where no gate opens; the test split is for what is reported.
"""

from typing import TYPE_CHECKING, Literal

from components.gates import Gates
from components.sections.base import BatchSize, Count, Seed, section
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.runtime import Work

ALIGNED = ("ppo", "dpo", "feedme")


@section
class Evaluate:
    """Measuring every model on a held-out split: prompts, comparisons, and the first `text_windows` windows of text."""

    split: Literal["validation", "test"]  # choices are made on validation; what is published is of test
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
        **dict.fromkeys(("pretrain", "sft", *ALIGNED), Kind.LANGUAGE_MODEL),
        "reward": Kind.SCALAR_MODEL,
        "judge": Kind.SCALAR_MODEL,
        "labeler": Kind.LABELER,
        "validation": Kind.COMPARISONS,
        "test": Kind.COMPARISONS,
        "prompts": Kind.PROMPTS,
        "tokens": Kind.TOKENS,
        "demonstrations": Kind.DEMONSTRATIONS,
        "sft_figures": Kind.FIGURES,
        "calibration": Kind.CURVE,
        **{f"{name}_history": Kind.CURVE for name in ("pretrain", "sft", "reward", *ALIGNED)},
    },
    makes={"replies.jsonl": Kind.REPORT, "report.md": Kind.REPORT, "report.html": Kind.REPORT},
    shared={
        "seed": Seed,
        "compute.accelerator": Compute,
        "compute.precision": Compute,
        "generation": Generation,
        "limits.max_prompt_tokens": Limits,
        "gates": Gates,
    },
    headline="headline.json",
    plots="plots",
)
