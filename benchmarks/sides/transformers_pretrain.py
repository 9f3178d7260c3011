"""`transformers` Trainer with its GPT-2 on the same windows."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from benchmarks.sides.transformers_common import gpt2_config
from components.data.tokens import TokenFile


class _Windows(Dataset[dict[str, Tensor]]):
    def __init__(self, tokens: TokenFile) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return self.tokens.num_windows

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = self.tokens.windows([index * self.tokens.context_length])[0, :-1]
        return {"input_ids": window, "labels": window}


class _Moments(TrainerCallback):
    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.moments.append(time.perf_counter())


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """The same sizes; options `precision` and `compile`."""
    tokens = TokenFile(Path("artifacts/prepare/tokens/train.json"), context_length=options["context"])
    config = gpt2_config(options, use_cache=False)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    output = tempfile.TemporaryDirectory()
    arguments = TrainingArguments(
        output_dir=output.name,
        per_device_train_batch_size=options["batch"],
        max_steps=options["steps"] + 1,
        bf16=options["precision"] == "bf16",
        torch_compile=options["compile"],
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )

    def run_round() -> float:
        callback = _Moments()
        Trainer(model=model, args=arguments, train_dataset=_Windows(tokens), callbacks=[callback]).train()
        seconds = callback.moments[-1] - callback.moments[0]
        return options["steps"] * options["batch"] * options["context"] / seconds

    # The folder lives as long as the rounds do.
    run_round.output = output  # type: ignore[attr-defined]
    return run_round
