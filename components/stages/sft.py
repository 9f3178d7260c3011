"""SFT: fine-tune the pretrained model on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5).

Conversations are rendered with the chat template; the loss covers the assistant's words and its end marker only.
Writes a model folder and registers it.
"""

import math
from typing import TYPE_CHECKING

from components.sections.base import Seed, section
from components.sections.compute import Compute
from components.sections.limits import Limits
from components.sections.optimizer import Imitation
from components.sections.weights import Weights
from components.stage import Curve, Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Sft(Imitation):
    """Fine-tuning on demonstrations; a batch is `batch_size` rows of `limits.max_demonstration_tokens`."""

    weights: Weights


def run(work: "Work[Sft]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import load_gpt, load_tokenizer, save_model
    from components.data.demonstrations import load_demonstrations
    from components.models.adapters import trainable
    from components.training.fit import fit
    from components.training.imitation import ImitationModule

    params, base = work.section, work.read("base")
    torch.manual_seed(work.seed)
    tokenizer = load_tokenizer(base)
    longest = work.limits.max_demonstration_tokens
    train, validation = (
        load_demonstrations(work.read("demonstrations") / f"{split}.jsonl", tokenizer, max_tokens=longest)
        for split in ("train", "validation")
    )
    model = trainable(load_gpt(base), params.weights, new_tokens=True)
    module = ImitationModule(work, model.train(), train=train, validation=validation)
    work.metrics["untuned"] = module.validate()
    fit(work, module, checkpoint_interval=params.checkpoint_interval, validate_every=params.validation_interval)
    final = module.validate()
    work.metrics |= {
        "rows": len(train.input_ids),
        "trained_fraction": train.trained_fraction,
        "validation": {"loss": final["validation/loss"], "perplexity": math.exp(final["validation/loss"])},
    }
    save_model(work.path("model"), model, base / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Sft,
    run,
    reads={"base": Kind.LANGUAGE_MODEL, "demonstrations": Kind.DEMONSTRATIONS},
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={"seed": Seed, "compute": Compute, "limits.max_demonstration_tokens": Limits},
    curves={"history.csv": Curve("step", "train/loss")},
)
