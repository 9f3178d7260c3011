"""Reward: a scalar head on the SFT body, trained on rankings (InstructGPT, arXiv:2203.02155, equation 1).

All pairs of a prompt's replies are one batch element, with one forward pass a reply. Afterwards the head's bias is
set so that demonstrations score 0 on average. Writes a model folder and registers it, and how well the model orders the
validation comparisons; those of the test split are evaluate's. Where the comparisons are people's, a second model is
trained alike on the half of them that nothing else sees: `judge/`, evaluate's referee.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.sections.base import BatchSize, Count, NonNegative, Seed, section
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.sections.optimizer import Optimizer
from components.sections.weights import Weights
from components.stage import Curve, Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class RankingObjective:
    """All pairs of a prompt's replies are one batch element (InstructGPT, equation 1)."""

    kind: Literal["ranking"]


@section
class PairwiseObjective:
    """Every pair is a batch element of its own, in shuffled order; a batch has `prompts_per_batch` pairs."""

    kind: Literal["pairwise"]
    margin: NonNegative


@section
class BestOfKObjective:
    """Only which reply is the best counts (Ziegler et al. 2019)."""

    kind: Literal["best_of_k"]


@section
class Reward:
    """Training the reward model on rankings."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    weights: Weights
    objective: Annotated[RankingObjective | PairwiseObjective | BestOfKObjective, Field(discriminator="kind")]
    normalisation: Literal["bias", "gain_and_bias"]
    epochs: Count
    prompts_per_batch: BatchSize
    checkpoint_interval: Count
    optimizer: Optimizer


def run(work: "Work[Reward]") -> None:
    """The whole stage."""
    from components.checkpoints import load_tokenizer, save_model
    from components.data.comparisons import EncodedComparison, load_comparisons
    from components.training.reward_model import describe, normalise, score_pairs, train_judge, train_on

    tokenizer = load_tokenizer(work.read("base"))

    def load(path: Path) -> tuple[list[EncodedComparison], dict[str, int]]:
        return load_comparisons(
            path,
            tokenizer,
            max_prompt_tokens=work.limits.max_prompt_tokens,
            max_reply_tokens=work.generation.max_new_tokens,
        )

    parts = [load(path) for path in (work.read("train"), *work.read_all("earlier").values())]
    train = [row for rows, _ in parts for row in rows]
    dropped = {why: sum(counts[why] for _, counts in parts) for why in parts[0][1]}
    validation, _ = load(work.read("validation"))
    if json.loads(work.read("labeler").read_text())["kind"] == "file":
        train_judge(work, load(work.read("judge"))[0], tokenizer)
    else:
        work.path("judge").mkdir(exist_ok=True)
        work.path("judge/absent.txt").write_text("The labeler is simulated: its own function judges.\n")
    module, model = train_on(work, train, tokenizer)
    work.metrics |= {"steps": module.total_steps, "dropped": dropped, "demonstrations": normalise(module, tokenizer)}
    describe(work, score_pairs(module, train[: len(validation)]), score_pairs(module, validation))
    save_model(work.path("model"), model, work.read("base") / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Reward,
    run,
    reads={
        "base": Kind.LANGUAGE_MODEL,
        "labeler": Kind.LABELER,
        "train": Kind.COMPARISONS,
        "earlier": Several(Kind.COMPARISONS),  # of earlier rounds; they train too
        "judge": Kind.COMPARISONS,
        "validation": Kind.COMPARISONS,
        "demonstrations": Kind.DEMONSTRATIONS,
    },
    makes={"model": Kind.SCALAR_MODEL, "judge": Kind.SCALAR_MODEL},
    shared={
        "seed": Seed,
        "compute": Compute,
        "generation.max_new_tokens": Generation,
        "limits.max_prompt_tokens": Limits,
    },
    curves={"history.csv": Curve("step", "train/pair_accuracy"), "calibration.csv": Curve("confidence", "accuracy")},
)
