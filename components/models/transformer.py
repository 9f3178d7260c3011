"""The decoder-only transformer of the whole lineage (GPT-2 form: pre-LN, tied head, learned positions).

Layout of a batch: every row is `prompt, response, padding`, contiguous from position 0. Under a causal
mask a real token never sees the padding on its right, so no forward pass of this project needs a
padding mask, and sampler and trainer see the very same computation.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from components.models.cache import LayerMemory, Memory
from components.models.sizes import GPTConfig

# In bf16 and up to this many keys, plain matrix products beat the CPU's fused kernel, forward and backward together: at
# 64 rows, 2 heads, 104 tokens they took 10 ms where the fused kernel took 33; in fp32 the fused kernel wins (LOG.md).
FUSED_FROM = 512


def attend(
    queries: Float[Tensor, "B H T E"],
    keys: Float[Tensor, "B H S E"],
    values: Float[Tensor, "B H S E"],
    visible: Bool[Tensor, "#B #H #T #S"] | None,
) -> Float[Tensor, "B H T E"]:
    """Softmax attention of T queries over S keys.

    `visible` is True where a query may look; None is causal, with T = S, and everywhere for a single query.
    """
    causal = visible is None and queries.shape[-2] > 1
    if queries.device.type != "cpu" or queries.dtype == torch.float32 or keys.shape[-2] >= FUSED_FROM:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible, is_causal=causal)
    if causal:
        num_tokens = queries.shape[-2]
        visible = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=queries.device).tril()
    affinity = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-1, -2)
    if visible is not None:
        affinity = affinity.masked_fill(~visible, float("-inf"))
    return affinity.softmax(dim=-1) @ values


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.projection = nn.Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "B T D"], memory: LayerMemory | None = None) -> Float[Tensor, "B T D"]:
        """Attend within x; with a memory, also to what it holds for each row."""
        parts = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, -1)
        queries, keys, values = (part.transpose(1, 2) for part in parts.unbind(2))  # [B, H, T, E]
        visible = None
        if memory is not None:
            keys, values, visible = memory.extend(keys, values)
        mixed = attend(queries, keys, values, visible)
        return self.projection(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Pre-LN transformer block: each sublayer reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * config.width, config.width),
        )

    def forward(self, x: Float[Tensor, "B T D"], memory: LayerMemory | None = None) -> Float[Tensor, "B T D"]:
        x = x + self.attention(self.attention_norm(x), memory)
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """Token and position embeddings, L blocks, a final norm. The head is the token embedding, transposed."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.context_length, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(config.width)
        self.apply(self._initialise)
        # GPT-2 section 2.3: residual projections start smaller by 1/sqrt(number of residual layers).
        for name, weight in self.named_parameters():
            if name.endswith(("projection.weight", "mlp.2.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.num_layers))

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, input_ids: Int[Tensor, "B T"], memory: Memory | None = None) -> Float[Tensor, "B T D"]:
        """Final hidden states of tokens.

        With a memory, they continue what it holds, at the positions that it gives.

        Raises:
            ValueError: more tokens than the context holds.
        """
        num_tokens = input_ids.shape[1]
        if num_tokens > self.config.context_length:
            raise ValueError(f"{num_tokens} tokens exceed the context of {self.config.context_length}")
        positions = torch.arange(num_tokens, device=input_ids.device)
        if memory is not None:
            positions = memory.start(num_tokens)
        x = self.token_embedding(input_ids) + self.position_embedding(positions)
        for index, block in enumerate(self.blocks):
            x = block(x, None if memory is None else memory.layers[index])
        return self.final_norm(x)

    @property
    def head(self) -> Float[Tensor, "V D"]:
        """Weights of the head: those of the token embedding."""
        return self.token_embedding.weight

    def logits(self, hidden: Float[Tensor, "*places D"]) -> Float[Tensor, "*places V"]:
        """Next-token logits of hidden states."""
        return F.linear(hidden, self.head)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable scalars, tied weights counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
