"""The arithmetic of a stage: bf16 where the processor is faster in it than in fp32."""

import logging
import time
from contextlib import AbstractContextManager
from functools import lru_cache

import torch

logger = logging.getLogger(__name__)
TRIAL_WIDTH, TRIALS = 512, 10
CLEARLY = 0.8  # of the time in fp32
CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # names in torch.cpu.get_capabilities, x86 and ARM


@lru_cache
def bf16_pays(device_type: str) -> bool:
    """Whether a kind of device multiplies matrices faster in bf16 than in fp32.

    A CPU without bf16 emulates it, 300 times slower. One with it is asked by trying: with avx512_bf16 and no AMX, AMD's
    are 2.3 times faster than in fp32 and Intel's 1.8 times slower (LOG.md), far enough from 1 for a short trial.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not any(torch.cpu.get_capabilities().get(name) for name in CPU_BF16):
        return False
    fp32, bf16 = _product_seconds(torch.float32, torch.bfloat16)
    return bf16 < CLEARLY * fp32


@torch.no_grad()
def _product_seconds(*dtypes: torch.dtype) -> list[float]:
    """The shortest of some trials of a matrix product in each type, in seconds of this thread on a processor.

    One thread and its own time: with several, a busy neighbour decides who waits for whom, and once decided the type.
    """
    matrices = [torch.ones(TRIAL_WIDTH, TRIAL_WIDTH, dtype=dtype) for dtype in dtypes]
    shortest = [float("inf")] * len(dtypes)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(TRIALS):
            for place, matrix in enumerate(matrices):
                started = time.thread_time()
                matrix @ matrix
                shortest[place] = min(shortest[place], time.thread_time() - started)
    finally:
        torch.set_num_threads(threads)
    return shortest


def training_device(accelerator: str) -> str:
    """The kind of device that Lightning will train on for an accelerator's name."""
    return "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


@lru_cache
def resolve(precision: str, device_type: str) -> str:
    """`auto` as one of Lightning's names for a kind of device; other names as they are."""
    if precision == "auto":
        return "bf16-mixed" if bf16_pays(device_type) else "32-true"
    if precision == "bf16-mixed" and not bf16_pays(device_type):
        logger.warning("compute.precision is bf16-mixed, in which this %s is slower than in fp32", device_type)
    return precision


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[None]:
    """Autocast as Lightning does for the same precision, a resolved one; none for fp32."""
    device_type = torch.device(device).type
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")
