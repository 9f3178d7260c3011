"""The machine a benchmark ran on, and how fast it multiplies matrices."""

import os
import platform
import re
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

ROWS, INNER, COLUMNS = 4096, 1024, 4096
TRIALS = 7


def product_gflops(dtype: torch.dtype) -> float:
    """Billions of operations a second of a [4096, 1024] by [1024, 4096] product, the median of some trials."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left = torch.randn(ROWS, INNER, device=device).to(dtype)
    right = torch.randn(INNER, COLUMNS, device=device).to(dtype)
    seconds = []
    for _ in range(TRIALS + 1):
        started = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * ROWS * INNER * COLUMNS / statistics.median(seconds[1:]) / 1e9


def describe() -> dict[str, Any]:
    """Processor, cores, memory, versions, and the machine's rate in fp32 and in bf16."""
    found = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": found[0].split(":")[1].strip() if found else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(int(memory[0]) / 2**20) if memory else None,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fp32_gflops": round(product_gflops(torch.float32)),
        "bf16_gflops": round(product_gflops(torch.bfloat16)),
    }


def faster(machine: Mapping[str, Any]) -> str:
    """The type that the machine multiplies in clearly faster, or fp32."""
    return "bf16" if machine["bf16_gflops"] > 1.2 * machine["fp32_gflops"] else "fp32"


def name(machine: Mapping[str, Any]) -> str:
    """What results of such a machine are kept by: processor, cores, accelerator, and bf16 where that is clearly faster.

    Processors that differ in that one alone may call themselves alike.
    """
    said = f"{machine['processor']} {machine['cores']} cores {machine['accelerator'] or ''} {faster(machine)}"
    return re.sub(r"\W+", "-", re.sub(r"\((R|TM|r|tm)\)", "", said)).strip("-").lower()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
