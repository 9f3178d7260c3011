"""Our SFT on ragged chats: real tokens a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides.ours_common import NEVER, optimizer, train
from components.data.chat import ChatTokenizer, EncodedChat
from components.data.demonstrations import pad_rows
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.training.imitation import ImitationModule


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`batch` conversations a step; AdamW, as the peer's."""
    size, context = "{layers}x{width}x{heads}".format(**options), options["context"]
    stage = stage_in(
        folder,
        "sft",
        {
            "model.shape": size,
            "limits.context_length": context,
            "limits.max_demonstration_tokens": context,
            "sft.batch_size": options["batch"],
            "sft.optimizer": optimizer("adamw"),
            "sft.validation_interval": NEVER,
            "compute.precision": options.get("precision", "auto"),
            "compute.compile": options.get("compile", False),
        },
    )
    chat = ChatTokenizer.load(folder / "tokenizer.json")
    data = json.loads((folder / "sft.json").read_text())
    pieces = [EncodedChat(*piece) for piece in zip(data["input_ids"], data["loss_mask"], strict=True)]
    rows = pad_rows(pieces, pad_id=chat.pad, width=context + 1)
    torch.manual_seed(0)
    model = GPT(config_for(size, vocab_size=chat.vocab_size, context_length=context))
    module = ImitationModule(stage, model.train(), train=rows, validation=rows)
    lengths = [len(ids) for ids in data["input_ids"]]

    def run_round() -> float:
        steps, seconds = train(stage, module, options["steps"])
        return sum(lengths[row] for step in steps for row in module.rows(step)) / seconds

    return run_round
