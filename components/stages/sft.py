"""SFT: fine-tune the pretrained model on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5).

Conversations are rendered with the chat template; the loss covers the assistant's words and its end marker only.
Writes `artifacts/sft/model/` and registers it as `gpt-sft`.
"""

import math

import torch

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.data.demonstrations import load_demonstrations
from components.models.adapters import trainable
from components.runtime import Work
from components.stage import Curve, Kind, Stage
from components.training.fit import fit
from components.training.imitation import ImitationModule

STAGE = Stage(
    reads={"base": Kind.LANGUAGE_MODEL, "demonstrations": Kind.DEMONSTRATIONS},
    makes={"model": Kind.LANGUAGE_MODEL},
    params=("seed", "compute", "sft"),
    curves={"history.csv": Curve("step", "train/loss")},
)


def sft(stage: Work) -> None:
    """The whole stage."""
    params, base = stage.params, stage.read("base")
    torch.manual_seed(params.seed)
    tokenizer = load_tokenizer(base)
    train, validation = (
        load_demonstrations(
            stage.read("demonstrations") / f"{split}.jsonl", tokenizer, max_tokens=params.sft.max_tokens
        )
        for split in ("train", "validation")
    )
    model = trainable(load_gpt(base), params.sft.weights, new_tokens=True)
    module = ImitationModule(stage, model.train(), params.sft, train=train, validation=validation)
    stage.metrics["untuned"] = module.validate()
    fit(
        stage,
        module,
        checkpoint_interval=params.sft.checkpoint_interval,
        validate_every=params.sft.validation_interval,
    )
    final = module.validate()
    stage.metrics |= {
        "rows": len(train.input_ids),
        "trained_fraction": train.trained_fraction,
        "validation": {"loss": final["validation/loss"], "perplexity": math.exp(final["validation/loss"])},
    }
    save_model(stage.path("model"), model, base / "tokenizer.json", precision=module.precision)
    stage.tracker.register_model(stage.path("model"))
