"""Likelihood of text under a language model, in bits per byte."""

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.data.tokens import TokenFile
from components.losses.language_modelling import bits_per_byte


@torch.no_grad()
def token_file_loss(
    loss: Callable[[Int[Tensor, "B T"]], Float[Tensor, ""]],
    tokens: TokenFile,
    *,
    batch_size: int,
    max_batches: int | None = None,
    device: torch.device | str = "cpu",
) -> float:
    """Mean loss in nats a token over consecutive windows of a token file.

    Every window starts without context, so the figure is an upper bound of what a sliding window would give.
    A last batch that is not full is left out, unless it is the only one. Of several corpora, which lie one after
    another, batches are taken at equal distances, in the midst of each.
    """
    batch_size = min(batch_size, tokens.num_windows)
    starts: Sequence[int] = range(0, tokens.num_windows - batch_size + 1, batch_size)
    if max_batches is not None and max_batches < len(starts) and len(tokens.meta.corpora) > 1:
        starts = [starts[(2 * place + 1) * len(starts) // (2 * max_batches)] for place in range(max_batches)]
    losses = [
        float(loss(tokens.windows(tokens.context_length * row for row in range(start, start + batch_size)).to(device)))
        for start in islice(starts, max_batches)
    ]
    return sum(losses) / len(losses)


def token_file_bits_per_byte(
    loss: Callable[[Int[Tensor, "B T"]], Float[Tensor, ""]],
    tokens: TokenFile,
    *,
    batch_size: int,
    max_batches: int | None = None,
    device: torch.device | str = "cpu",
) -> float:
    """Bits per UTF-8 byte: the mean loss a token times the file's tokens a byte (end-of-text tokens included)."""
    nats = token_file_loss(loss, tokens, batch_size=batch_size, max_batches=max_batches, device=device)
    return bits_per_byte(nats * tokens.meta.tokens, tokens.meta.bytes)
