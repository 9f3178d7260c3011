"""Softmax attention, by the fastest way on the device at hand."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

# In bf16 and up to this many keys, plain matrix products beat the CPU's fused kernel, forward and backward together: at
# 64 rows, 2 heads, 104 tokens they took 10 ms where the fused kernel took 33; in fp32 the fused kernel wins (LOG.md).
FUSED_FROM = 512


def attend(
    queries: Float[Tensor, "B H T E"],
    keys: Float[Tensor, "B G S E"],
    values: Float[Tensor, "B G S E"],
    visible: Bool[Tensor, "#B 1 #T #S"] | None,
) -> Float[Tensor, "B H T E"]:
    """Softmax attention of T queries over S keys; each of G heads of keys serves H / G heads of queries.

    `visible` is True where a query may look; None is causal, with T = S, and everywhere for a single query.
    """
    causal = visible is None and queries.shape[-2] > 1
    sharing = queries.shape[1] // keys.shape[1]
    if sharing > 1 and queries.shape[2] == 1:  # a group's queries look at the same keys, as those of several tokens do
        grouped = queries.view(len(queries), keys.shape[1], sharing, -1)
        return _attend(grouped, keys, values, visible, causal=False).view_as(queries)
    if sharing > 1:
        keys, values = keys.repeat_interleave(sharing, dim=1), values.repeat_interleave(sharing, dim=1)
    return _attend(queries, keys, values, visible, causal=causal)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None, *, causal: bool) -> Tensor:
    if queries.device.type != "cpu" or queries.dtype == torch.float32 or keys.shape[-2] >= FUSED_FROM:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible, is_causal=causal)
    if causal:
        num_tokens = queries.shape[-2]
        visible = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=queries.device).tril()
    affinity = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-1, -2)
    if visible is not None:
        affinity = affinity.masked_fill(~visible, float("-inf"))
    return affinity.softmax(dim=-1) @ values


Heads = tuple[Float[Tensor, "B H T E"], Float[Tensor, "B G T E"], Float[Tensor, "B G T E"]]


def split_heads(heads: Float[Tensor, "B T A E"], kv_heads: int) -> Heads:
    """Queries, keys and values, which lie one behind the other: A = H + 2 G."""
    asking = heads.shape[2] - 2 * kv_heads
    queries, keys, values = torch.split(heads.transpose(1, 2), [asking, kv_heads, kv_heads], dim=1)
    return queries, keys, values


def attend_heads(heads: Float[Tensor, "B T A E"], kv_heads: int) -> Float[Tensor, "B T H E"]:
    """Causal attention of T tokens to each other."""
    return attend(*split_heads(heads, kv_heads), None).transpose(1, 2)
