"""Our engine without a server: new tokens a second over all rows."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from components.checkpoints import load_tokenizer
from components.inference.engine import Drawn, Request
from components.inference.pool import load_folder
from components.losses.sampling import Sampling


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`users` requests at a time to the model of the folder `model`, each of `new` tokens; rounds of `seconds`."""
    torch.set_num_threads(1)  # as the server's
    source, seeds = folder / options["model"], itertools.count()
    engine = load_folder("bench", source, slots=options["users"]).engine
    tokenizer = load_tokenizer(source)
    prompt = tuple(tokenizer.encode_prompt([{"role": "user", "content": "hello, how are you?"}], max_tokens=64))

    def run_round() -> float:
        until, left, done = time.perf_counter() + options["seconds"], [options["users"]], threading.Event()

        def receive(drawn: Drawn) -> None:  # on the engine's thread, as all of this but the first requests
            if drawn.finish is not None and time.perf_counter() < until:
                ask()
            elif drawn.finish is not None:
                left[0] -= 1
                if not left[0]:
                    done.set()

        def ask() -> None:
            ends = frozenset({tokenizer.end})
            engine.submit(Request(prompt, options["new"], ends, Sampling(), next(seeds)), receive)

        before, begun = engine.tokens, time.perf_counter()
        for _ in range(options["users"]):
            ask()
        done.wait()
        return (engine.tokens - before) / (time.perf_counter() - begun)

    return run_round
