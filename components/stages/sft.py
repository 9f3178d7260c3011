"""SFT: fine-tune the pretrained model on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5).

Conversations are rendered with the chat template; the loss covers the assistant's words and its end marker only.
Writes `artifacts/sft/model/` and registers it as `gpt-sft`.
"""

import math
from pathlib import Path

import torch

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.data.demonstrations import load_demonstrations
from components.models.adapters import trainable
from components.stages.fit import fit
from components.stages.imitation import ImitationModule
from components.stages.runtime import Stage

PRETRAINED = Path("artifacts/pretrain/model")
DEMONSTRATIONS = Path("artifacts/prepare/demonstrations")


def sft(stage: Stage) -> None:
    """The whole stage."""
    params = stage.params
    torch.manual_seed(params.seed)
    tokenizer = load_tokenizer(PRETRAINED)
    train, validation = (
        load_demonstrations(DEMONSTRATIONS / f"{split}.jsonl", tokenizer, max_tokens=params.sft.max_tokens)
        for split in ("train", "validation")
    )
    model = trainable(load_gpt(PRETRAINED), params.sft.weights, new_tokens=True)
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
    save_model(stage.path("model"), model, PRETRAINED / "tokenizer.json", precision=module.precision)
    stage.tracker.register_model(stage.path("model"))
