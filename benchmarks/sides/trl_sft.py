"""SFT by TRL's SFTTrainer, in real tokens per second; the loss covers what the assistant says.

The rows come tokenised, with labels of -100 where the loss does not count. Without packing the collator pads a batch to
its longest row. The loss is TRL's default, which never computes the logits that do not count; it is also its fastest.

With packing, a row of `context` tokens holds several conversations, and a step takes `batch` rows. TRL's default,
best-fit packing, makes one long row of a batch. The borders in it are meant for FlashAttention, which a CPU lacks (TRL
warns of attention across them), but transformers 5 keeps them exactly by a dense mask. That costs the square of the
long row's length, so a batch goes through in parts: in parts of 4 rows of 128 it was 1.4 times as fast as whole. The
option `strategy="wrapped"` is faster still, but cuts conversations anywhere and attends across them.
"""

import json
from collections.abc import Callable, Mapping
from math import gcd
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel
from trl import SFTConfig, SFTTrainer

from benchmarks.sides.trl_common import load_tokenizer, quieten, scoring_config, time_training, training_arguments

IGNORED = -100
LONG_ROW = {"cpu": 512, "cuda": 4096}  # tokens; measured on a CPU, where a GPU's optimum is was not


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """Load the conversations of `sft.json`; a round trains a new model on them.

    `model` of the options has a model and its chats, and `peft`'s adapters train on all of its linear maps.
    """
    quieten()
    place = folder / options.get("model", "")
    data, adapters = _load(place / "sft.json"), None
    if "model" in options:
        tokenizer = AutoTokenizer.from_pretrained(place / "theirs")
        adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    else:
        tokenizer = load_tokenizer(folder)

    def build(output_dir: str) -> SFTTrainer:
        if adapters is None:
            model = GPT2LMHeadModel(scoring_config(options, tokenizer))
        else:
            model = AutoModelForCausalLM.from_pretrained(place / "theirs", dtype=torch.float32)
        arguments = _arguments(output_dir, options)
        return SFTTrainer(
            model, arguments, train_dataset=data, processing_class=tokenizer, peft_config=adapters
        )  # fmt: skip

    return lambda: time_training(build).tokens_per_second


def _arguments(output_dir: str, options: Mapping[str, Any]) -> SFTConfig:
    arguments = training_arguments(options) | {"include_num_input_tokens_seen": "non_padding"}
    if options["packing"]:
        arguments |= _packing(options.get("strategy", "bfd"), options)
    else:
        arguments["max_length"] = None  # the rows are short enough
    return SFTConfig(output_dir, **arguments)


def _packing(strategy: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of `context` tokens; a best-fit batch in parts that together are one step."""
    batch, context = options["batch"], options["context"]
    longest = LONG_ROW["cuda" if torch.cuda.is_available() else "cpu"]
    rows = batch if strategy == "wrapped" else gcd(batch, max(1, longest // context))
    return {
        "packing": True,
        "packing_strategy": strategy,
        "max_length": context,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": batch // rows,
    }


def _load(path: Path) -> Dataset:
    data = json.loads(path.read_text())
    labels = [
        [token if counts else IGNORED for token, counts in zip(ids, mask, strict=True)]
        for ids, mask in zip(data["input_ids"], data["loss_mask"], strict=True)
    ]
    return Dataset.from_dict({"input_ids": data["input_ids"], "labels": labels})
