"""Our reward model on rankings of K replies: pairs a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides.ours_common import optimizer, train
from components.data.chat import ChatTokenizer
from components.data.comparisons import EncodedComparison
from components.models.heads import ScalarGPT
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.training.reward_model import RewardModule


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`prompts` rankings a step, all pairs of a prompt from one forward pass a reply."""
    size, replies = "{layers}x{width}x{heads}".format(**options), options["replies"]
    stage = stage_in(
        folder,
        "reward",
        {
            "model.shape": size,
            "reward.prompts_per_batch": options["prompts"],
            "reward.optimizer": optimizer("adamw"),
            "compute.precision": options.get("precision", "auto"),
        },
    )
    chat = ChatTokenizer.load(folder / "tokenizer.json")
    data = [
        EncodedComparison(row["prompt"], row["replies"], tuple(row["ranks"]), (1,) * replies, "")
        for row in json.loads((folder / f"reward-{replies}.json").read_text())
    ]
    torch.manual_seed(0)
    shape = config_for(size, vocab_size=chat.vocab_size, context_length=options["context"])
    module = RewardModule(stage, ScalarGPT.on(GPT(shape)), data, chat.pad)

    def run_round() -> float:
        steps, seconds = train(stage, module, options["steps"])
        return len(steps) * options["prompts"] * replies * (replies - 1) / 2 / seconds

    return run_round
