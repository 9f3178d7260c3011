"""The arithmetic of a stage: bf16 where the processor has it, fp32 where it would be emulated."""

import logging
from contextlib import AbstractContextManager
from functools import lru_cache

import torch

logger = logging.getLogger(__name__)
CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # names in torch.cpu.get_capabilities, x86 and ARM


@lru_cache
def has_bf16(device_type: str) -> bool:
    """Whether a kind of device multiplies bf16 matrices in hardware. Emulated on a CPU they are 300 times slower."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and any(torch.cpu.get_capabilities().get(name) for name in CPU_BF16)


def training_device(accelerator: str) -> str:
    """The kind of device that Lightning will train on for an accelerator's name."""
    return "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


@lru_cache
def resolve(precision: str, device_type: str) -> str:
    """`auto` as one of Lightning's names for a kind of device; other names as they are."""
    if precision == "auto":
        return "bf16-mixed" if has_bf16(device_type) else "32-true"
    if precision == "bf16-mixed" and not has_bf16(device_type):
        logger.warning("compute.precision is bf16-mixed, which this %s can only emulate: auto is faster", device_type)
    return precision


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[None]:
    """Autocast as Lightning does for the same precision; none for fp32.

    Code that is compiled gives a resolved name: asking for the processor's abilities cannot be traced.
    """
    device_type = torch.device(device).type
    if precision == "auto":
        precision = resolve(precision, device_type)
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")
