"""What the sides of TRL share: tokenizer, configuration, training arguments, and a clock over a trainer's steps.

Changed against TRL's defaults, to its benefit: no gradient checkpointing (TRL turns it on: every activation is computed
twice), no logging, no checkpoints, no check of each loss for NaN. The optimizer is the default, fused AdamW.
"""

import gc
import io
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import torch
import transformers
from transformers import GPT2Config, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainerState

from benchmarks.sides.transformers_common import gpt2_config
from components.data.templates.lineage import FORMAT

LEARNING_RATE = 1e-5


@dataclass
class StepClock(TrainerCallback):
    """Notes when a trainer's first and last step end, and the tokens that it had seen by then, if it counts them."""

    moments: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if state.global_step in (1, state.max_steps):  # waiting for the GPU at every step would slow the peer down
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.moments.append(time.perf_counter())
            self.tokens.append(state.num_input_tokens_seen)

    @property
    def seconds(self) -> float:
        """The time of all steps but the first."""
        first, last = self.moments
        return last - first

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all steps but the first, by their time."""
        first, last = self.tokens
        return (last - first) / self.seconds


def quieten() -> None:
    """Have the peer's libraries say errors only; the harness puts them offline."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    logging.getLogger("trl").setLevel(logging.ERROR)
    datasets.disable_progress_bars()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's tokenizer; nothing is tokenised with it, but TRL asks it for special tokens."""
    path = str(folder / "tokenizer.json")
    return PreTrainedTokenizerFast(
        tokenizer_file=path, bos_token=FORMAT.endoftext, eos_token=FORMAT.endoftext, pad_token=FORMAT.pad
    )


def scoring_config(options: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> GPT2Config:
    """A GPT-2 with the tokenizer's special tokens; the one label is for models that score."""
    return gpt2_config(
        options,
        num_labels=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def training_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of every trainer; one step more than is timed."""
    return {
        "max_steps": options["steps"] + 1,
        "per_device_train_batch_size": options["batch"],
        "learning_rate": LEARNING_RATE,
        "bf16": options["precision"] == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_drop_last": True,
    }


def time_training(build: Callable[[str], Trainer]) -> StepClock:
    """Build a trainer, which gets a folder for its output, and have it train; nothing of either is kept."""
    torch.manual_seed(0)
    clock = StepClock()
    with TemporaryDirectory() as output_dir, redirect_stdout(io.StringIO()):
        trainer = build(output_dir)
        trainer.add_callback(clock)
        trainer.train()
    del trainer
    gc.collect()  # a trainer is a cycle; its models must not stay beside the next one's
    return clock
