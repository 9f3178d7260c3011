"""Our sampler: new tokens a second."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from components.checkpoints import load_gpt
from components.losses.sampling import Sampling
from components.models.generation import sample_replies, uniforms
from components.models.inference import for_sampling
from components.models.precision import autocast, resolve
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.process import keep_memory

NO_END = -1


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`batch` prompts of `prompt` random ids; `new` tokens each, sampled at temperature 1, none of them the end.

    `model` is a model folder; without it a GPT-2 of the options' shape.
    """
    keep_memory()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "model" in options:
        model = load_gpt(folder / options["model"]).requires_grad_(False)
    else:
        size = "{layers}x{width}x{heads}".format(**options)
        model = GPT(config_for(size, vocab_size=options["vocabulary"], context_length=options["context"]))
    model = model.to(device).eval()
    prompts = torch.randint(options["vocabulary"], (options["batch"], options["prompt"])).tolist()
    uniform = uniforms(options["batch"], options["new"], seed=(0,))

    def run_round() -> float:
        started = time.perf_counter()
        for _ in range(options["steps"]):
            with autocast(resolve(options.get("precision", "auto"), torch.device(device).type), device):
                sampler = for_sampling(model, rows=len(prompts), steps=options["new"])
                sample_replies(sampler, prompts, sampling=Sampling(), uniform=uniform, end_id=NO_END, pad_id=0)
        return options["steps"] * options["batch"] * options["new"] / (time.perf_counter() - started)

    return run_round
