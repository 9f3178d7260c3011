"""nanoGPT's model and optimizer, from a checkout that the user names, in a loop that does what its train.py does.

Its train.py runs fp32 on a CPU, whatever it is asked for; bf16 here is torch.autocast, as it does on a GPU.
"""

import importlib.util
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.data.tokens import TokenFile


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """The same sizes and windows as ours; options `checkout`, `precision` and `compile`."""
    peer = _load(Path(options["checkout"]) / "model.py")
    tokens = TokenFile(Path("artifacts/prepare/tokens/train.json"), context_length=options["context"])
    config = peer.GPTConfig(
        block_size=options["context"],
        vocab_size=options["vocabulary"],
        n_layer=options["layers"],
        n_head=options["heads"],
        n_embd=options["width"],
        dropout=0.0,
        bias=False,  # as its train.py: "a bit better and faster"
    )
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = peer.GPT(config).to(device)
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), device)
    forward = torch.compile(model) if options["compile"] else model
    bf16 = options["precision"] == "bf16"

    def context() -> AbstractContextManager[Any]:
        return torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()

    def step() -> None:
        windows = _batch(tokens, options["batch"]).to(device)
        with context():
            _, loss = forward(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    def run_round() -> float:
        step()
        started = time.perf_counter()
        for _ in range(options["steps"]):
            step()
        return options["steps"] * options["batch"] * options["context"] / (time.perf_counter() - started)

    return run_round


def _batch(tokens: TokenFile, size: int) -> Tensor:
    return tokens.windows(torch.randint(tokens.meta.tokens - tokens.context_length - 1, (size,)).tolist())


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
