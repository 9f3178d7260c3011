"""A model to sample from: adapters merged, weights in the type that they are multiplied in.

Under autocast a frozen weight is cast anew at every use, for every token: of a 135 M model half a gigabyte is read for
it each time.
"""

from dataclasses import replace

import torch
from torch import nn

from components.models.adapters import is_adapted, merged
from components.models.transformer import GPT


@torch.no_grad()
def for_sampling(model: GPT) -> GPT:
    """The model whose next tokens, under the autocast that is in force, are those of `model`; it shares what it can.

    Without adapters the very same numbers; with them those of the merged weights, which round otherwise.
    """
    device = model.head.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if dtype is None and not is_adapted(model):
        return model
    plain = merged(model, dtype)
    assert isinstance(plain, GPT)
    if dtype is None:
        return plain
    for module in plain.modules():
        if isinstance(module, nn.Linear):
            _cast(module, dtype)
    if plain.config.tied:
        head = nn.Linear(1, 1, bias=False, device="meta")
        head.weight = nn.Parameter(model.head.to(dtype), requires_grad=False)
        plain.output = head
        plain.config = replace(plain.config, tied=False)
    return plain


def _cast(module: nn.Linear, dtype: torch.dtype) -> None:
    for name, weight in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(weight.to(dtype), requires_grad=False))
