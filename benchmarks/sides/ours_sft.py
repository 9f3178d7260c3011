"""Our SFT on ragged chats: real tokens a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides.ours_common import LORA, NEVER, optimizer, train
from components.checkpoints import load_gpt, load_tokenizer
from components.data.chat import ChatTokenizer, EncodedChat
from components.data.demonstrations import pad_rows
from components.models.adapters import trainable
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.training.imitation import ImitationModule


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`batch` conversations a step; AdamW, as the peer's.

    `model` of the options has a model and its chats, and adapters of rank 16 train; without it a new GPT-2 trains.
    """
    place, context = folder / options.get("model", ""), options["context"]
    size = "{layers}x{width}x{heads}".format(**options) if "layers" in options else "4x128x2"
    stage = stage_in(
        folder,
        "sft",
        {
            "model.shape": size,
            "limits.context_length": context,
            "limits.max_demonstration_tokens": context,
            "sft.batch_size": options["batch"],
            "sft.weights": LORA if "model" in options else {"kind": "full"},
            "sft.optimizer": optimizer("adamw"),
            "sft.validation_interval": NEVER,
            "compute.precision": options.get("precision", "auto"),
            "compute.compile": options.get("compile", False),
        },
    )
    data = json.loads((place / "sft.json").read_text())
    pieces = [EncodedChat(*piece) for piece in zip(data["input_ids"], data["loss_mask"], strict=True)]
    chat = load_tokenizer(place / "ours") if "model" in options else ChatTokenizer.load(folder / "tokenizer.json")
    rows = pad_rows(pieces, pad_id=chat.pad, width=context + 1)
    torch.manual_seed(0)
    if "model" in options:
        model = trainable(load_gpt(place / "ours"), stage.section.weights)
    else:
        model = GPT(config_for(size, vocab_size=options["vocabulary"], context_length=context))
    module = ImitationModule(stage, model.train(), train=rows, validation=rows)
    lengths = [len(ids) for ids in data["input_ids"]]

    def run_round() -> float:
        steps, seconds = train(stage, module, options["steps"])
        return sum(lengths[row] for step in steps for row in module.rows(step)) / seconds

    return run_round
