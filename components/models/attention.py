"""Softmax attention, by the fastest way on the device at hand."""

import math

import torch
from jaxtyping import Bool, Float, Int
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
    hidden_future = visible is None and queries.shape[-2] > 1
    sharing = queries.shape[1] // keys.shape[1]
    if sharing > 1 and queries.shape[2] == 1:  # a group's queries look at the same keys, as those of several tokens do
        grouped = queries.view(len(queries), keys.shape[1], sharing, -1)
        return _attend(grouped, keys, values, visible, causal=False).view_as(queries)
    if sharing > 1:
        keys, values = keys.repeat_interleave(sharing, dim=1), values.repeat_interleave(sharing, dim=1)
    return _attend(queries, keys, values, visible, causal=hidden_future)


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


def attend_heads(heads: Float[Tensor, "B T A E"], kv_heads: int, band: int | None = None) -> Float[Tensor, "B T H E"]:
    """Causal attention of T tokens to each other; with a band, to no more than so many, the own included."""
    visible = causal(heads.shape[1], band, heads.device)
    return attend(*split_heads(heads, kv_heads), visible).transpose(1, 2)


def in_sight(queries: Int[Tensor, "*#B T"], keys: Int[Tensor, "*#B S"], band: int | None) -> Bool[Tensor, "*B T S"]:
    """Which keys a query looks at, given positions: those up to its own, `band` of them (GPT-3, section 2.1)."""
    distance = queries[..., :, None] - keys[..., None, :]
    return (distance >= 0) & (distance < band) if band else distance >= 0


def causal(num_tokens: int, band: int | None, device: torch.device) -> Bool[Tensor, "1 1 T T"] | None:
    """The mask of tokens that look at each other; None where nothing but the future is hidden."""
    if band is None or num_tokens <= band:
        return None
    positions = torch.arange(num_tokens, device=device)
    return in_sight(positions, positions, band)[None, None]
