"""`transformers.generate` with its cache: new tokens a second."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from benchmarks.sides.transformers_common import gpt2_config


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """The same prompts as ours; sampled, since greedy search would spare it the draw."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if options["precision"] == "bf16" else torch.float32
    if "model" in options:
        model = AutoModelForCausalLM.from_pretrained(folder / options["model"], dtype=dtype).to(device).eval()
    else:
        config = gpt2_config(options, bos_token_id=0, eos_token_id=0)
        model = GPT2LMHeadModel(config).to(device, dtype).eval()
    prompts = torch.randint(options["vocabulary"], (options["batch"], options["prompt"]), device=device)
    settings = {
        "do_sample": True,
        "top_k": 0,
        "min_new_tokens": options["new"],
        "max_new_tokens": options["new"],
        "attention_mask": torch.ones_like(prompts),
        "pad_token_id": 0,
    }

    def run_round() -> float:
        started = time.perf_counter()
        for _ in range(options["steps"]):
            model.generate(prompts, **settings)
        return options["steps"] * options["batch"] * options["new"] / (time.perf_counter() - started)

    return run_round
