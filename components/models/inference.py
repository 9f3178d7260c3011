"""A model to sample from: adapters merged, weights in the type and the order that they are multiplied in fastest.

Under autocast a frozen weight is cast anew at every use, for every token: of a 135 M model half a gigabyte is read for
it each time. In fp32 on a CPU, a product of 8 to 64 rows with a weight that lies [in, out] takes 0.44 to 0.9 of the
time that it takes with one that lies [out, in], as `nn.Linear` has them (LOG.md). From some hundreds of rows on, as in
training, both take the same.
"""

from dataclasses import replace

import torch
from torch import nn

from components.models.adapters import is_adapted, merged
from components.models.transformer import GPT

# From so many rows on weights are laid out anew: with one, a product takes as long as to read them, however they lie.
# It takes what some 15 steps gain by it, so there must be more; and memory, of which a large model leaves little.
ROWS_LAID_OUT, STEPS_LAID_OUT, BYTES_LAID_OUT = 8, 32, 2**28


@torch.no_grad()
def for_sampling(model: GPT, *, rows: int, steps: int) -> GPT:
    """The model whose next tokens, under the autocast that is in force, are those of `model`; it shares what it can.

    The very same numbers but for merged adapters, and for sums in another order where so many `rows` are sampled at
    once, for so many `steps`, of so small a model, that it pays: those round otherwise.
    """
    device = model.head.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    adapted = is_adapted(model)  # what is merged is a copy as it is
    size = 0 if adapted else sum(weight.nbytes for weight in model.parameters())
    as_it_lies = device != "cpu" or rows < ROWS_LAID_OUT or steps < STEPS_LAID_OUT or size > BYTES_LAID_OUT
    if dtype is None and as_it_lies and not adapted:
        return model
    plain = merged(model, dtype)
    assert isinstance(plain, GPT)
    if dtype is None and as_it_lies:
        return plain
    if plain.config.tied:
        plain.output = nn.Linear(1, 1, bias=False, device="meta")
        plain.output.weight = nn.Parameter(model.head, requires_grad=False)
        plain.config = replace(plain.config, tied=False)
    for module in plain.modules():
        if isinstance(module, nn.Linear):
            _prepare(module, dtype)
    return plain


def _prepare(module: nn.Linear, dtype: torch.dtype | None) -> None:
    """Weights in a type of their own if one is given; in that of the model they are laid out anew."""
    if dtype is None:
        laid_out = module.weight.t().contiguous().t()
        module.weight = nn.Parameter(laid_out, requires_grad=False)
        return
    for name, weight in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(weight.to(dtype), requires_grad=False))
