"""FeedME: fine-tune the SFT model on its own best-ranked replies (rejection sampling; OpenAI's text-davinci-002).

Of the replies that compare had ranked, those that share the first place are imitated: best-of-K sampling, put into
the weights. No reward model and no reinforcement learning. Writes a model folder and registers it.
"""

from typing import TYPE_CHECKING

from components.sections.base import Seed, section
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.sections.optimizer import Imitation
from components.stage import Curve, Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Feedme(Imitation):
    """Fine-tuning on the best-ranked replies; a batch is `batch_size` rows."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it


def run(work: "Work[Feedme]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import load_gpt, load_tokenizer, save_model
    from components.data.comparisons import best_replies, load_comparisons
    from components.models.transformer import GPT
    from components.training.fit import fit
    from components.training.imitation import ImitationModule

    params, start = work.section, work.read("policy")
    torch.manual_seed(work.seed)
    tokenizer = load_tokenizer(start)
    longest, longest_reply = work.limits.max_prompt_tokens, work.generation.max_new_tokens
    comparisons = (
        load_comparisons(work.read(split), tokenizer, max_prompt_tokens=longest, max_reply_tokens=longest_reply)[0]
        for split in ("train", "validation")
    )
    train, validation = (
        best_replies(found, pad_id=tokenizer.pad, width=longest + longest_reply) for found in comparisons
    )
    module = ImitationModule(work, load_gpt(start).train(), train=train, validation=validation)
    work.metrics["untuned"] = module.validate()
    fit(work, module, checkpoint_interval=params.checkpoint_interval, validate_every=params.validation_interval)
    work.metrics |= {"rows": len(train.input_ids), "validation": {"loss": module.validate()["validation/loss"]}}
    model: GPT = module.network  # type: ignore[assignment]
    save_model(work.path("model"), model, start / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Feedme,
    run,
    reads={"policy": Kind.LANGUAGE_MODEL, "train": Kind.COMPARISONS, "validation": Kind.COMPARISONS},
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={
        "seed": Seed,
        "compute": Compute,
        "generation.max_new_tokens": Generation,
        "limits.max_prompt_tokens": Limits,
    },
    curves={"history.csv": Curve("step", "train/loss")},
)
