"""DPO: align the SFT model with the rankings themselves (arXiv:2305.18290), without reward model and sampling.

A reply's implicit reward is beta times its log-probability ratio to the SFT model; the loss is the reward model's
ranking loss on implicit rewards, with one forward pass a reply. Writes a model folder and registers it.
"""

from typing import TYPE_CHECKING

from components.sections.base import BatchSize, Positive, Seed, section
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.sections.optimizer import Steps
from components.stage import Curve, Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Dpo(Steps):
    """Direct preference optimisation on the comparisons; a batch has `prompts_per_batch` rankings."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    beta: Positive
    prompts_per_batch: BatchSize


def run(work: "Work[Dpo]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import load_tokenizer, save_model
    from components.data.comparisons import load_comparisons
    from components.models.transformer import GPT
    from components.training.dpo import DpoModule
    from components.training.fit import fit

    start = work.read("policy")
    torch.manual_seed(work.seed)
    tokenizer = load_tokenizer(start)
    data, dropped = load_comparisons(
        work.read("comparisons"),
        tokenizer,
        max_prompt_tokens=work.limits.max_prompt_tokens,
        max_reply_tokens=work.generation.max_new_tokens,
    )
    module = DpoModule(work, data, tokenizer.pad)
    fit(work, module, checkpoint_interval=work.section.checkpoint_interval)
    work.metrics |= {"prompts": len(data), "dropped": dropped, "steps": module.total_steps}
    model: GPT = module.network  # type: ignore[assignment]
    save_model(work.path("model"), model, start / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Dpo,
    run,
    reads={"policy": Kind.LANGUAGE_MODEL, "comparisons": Kind.COMPARISONS},
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={
        "seed": Seed,
        "compute": Compute,
        "generation.max_new_tokens": Generation,
        "limits.max_prompt_tokens": Limits,
    },
    curves={"history.csv": Curve("step", "train/pair_accuracy")},
)
