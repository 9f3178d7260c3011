"""Our pretraining: tokens a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides.ours_common import NEVER, optimizer, train
from components.data.chat import ChatTokenizer
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.training.pretraining import PretrainModule


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """A model of layers, width, heads on windows of `context` tokens, `batch` a step."""
    size, context = "{layers}x{width}x{heads}".format(**options), options["context"]
    stage = stage_in(
        folder,
        "pretrain",
        {
            "model.shape": size,
            "limits.context_length": context,
            "compute.precision": options.get("precision", "auto"),
            "compute.compile": options.get("compile", False),
            "pretrain.batch_size": options["batch"],
            "pretrain.validation_interval": NEVER,
            "pretrain.optimizer": optimizer(options.get("optimizer", "muon")),
        },
    )
    torch.manual_seed(0)
    vocabulary = ChatTokenizer.load(folder / "tokenizer.json").vocab_size
    module = PretrainModule(stage, GPT(config_for(size, vocab_size=vocabulary, context_length=context)))

    def run_round() -> float:
        steps, seconds = train(stage, module, options["steps"])
        return len(steps) * options["batch"] * context / seconds

    return run_round
