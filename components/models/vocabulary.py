"""More tokens for a model that exists."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from components.models.transformer import GPT


def grow(model: GPT, ids: Sequence[int], rows: Callable[[Float[Tensor, "V D"]], Float[Tensor, "N D"]]) -> None:
    """Give a model's tables new rows at some ids, in place; `rows` makes those of a table as it was."""
    tables: list[nn.Module] = [model.token_embedding] + ([] if model.config.tied else [model.output])
    for table in tables:
        old = table.weight.detach()  # type: ignore[operator]
        longer = torch.cat([old, old.new_zeros(max(0, max(ids) + 1 - len(old)), old.shape[1])])
        longer[list(ids)] = rows(old)
        table.weight = nn.Parameter(longer)
    size = len(model.token_embedding.weight)
    model.config = replace(model.config, vocab_size=size)
    model.token_embedding.num_embeddings = size
