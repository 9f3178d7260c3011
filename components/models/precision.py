"""The arithmetic of forward passes outside Lightning's own hooks."""

from contextlib import AbstractContextManager

import torch

AUTOCAST_DTYPES = {"bf16-mixed": torch.bfloat16}


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[None]:
    """Autocast as Lightning does for the same precision name; no autocast for `32-true`."""
    dtype = AUTOCAST_DTYPES.get(precision)
    device_type = torch.device(device).type
    return torch.autocast(device_type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
