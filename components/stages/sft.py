"""SFT: fine-tune the pretrained model on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5).

Conversations are rendered with the chat template; the loss covers the assistant's words and its end marker only.
What people wrote on the labelling page (components/stages/gather.py) may come beside them.
Writes a model folder and registers it.
"""

import math
from typing import TYPE_CHECKING

from components.sections.base import Seed, section
from components.sections.compute import Compute
from components.sections.limits import Limits
from components.sections.optimizer import Imitation
from components.sections.weights import Weights
from components.stage import Curve, Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Sft(Imitation):
    """Fine-tuning on demonstrations; a batch is `batch_size` rows of `limits.max_demonstration_tokens`."""

    weights: Weights


def run(work: "Work[Sft]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import load_gpt, load_tokenizer, save_model, untrained_tokens
    from components.data.demonstrations import load_demonstrations
    from components.models.adapters import trainable
    from components.training.fit import fit
    from components.training.imitation import ImitationModule

    params, base, demonstrations = work.section, work.read("base"), work.read("demonstrations")
    torch.manual_seed(work.seed)
    tokenizer, people = load_tokenizer(base), work.read_all("people").values()
    longest = work.limits.max_demonstration_tokens
    train = load_demonstrations(demonstrations / "train.jsonl", tokenizer, max_tokens=longest, more=people)
    validation = load_demonstrations(demonstrations / "validation.jsonl", tokenizer, max_tokens=longest)
    model = trainable(load_gpt(base), params.weights, new_tokens=bool(untrained_tokens(base)))
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
    reads={
        "base": Kind.LANGUAGE_MODEL,
        "demonstrations": Kind.DEMONSTRATIONS,
        "people": Several(Kind.DEMONSTRATIONS),  # what they wrote on the pages; it trains too
    },
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={"seed": Seed, "compute": Compute, "limits.max_demonstration_tokens": Limits},
    curves={"history.csv": Curve("step", "train/loss")},
)
