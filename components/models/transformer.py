"""The decoder-only transformer of every family: what its configuration does not say is as in GPT-2 (pre-LN, tied head,
learned positions).

Layout of a batch: every row is `prompt, response, padding`, contiguous from position 0. Under a causal
mask a real token never sees the padding on its right, so no forward pass of this project needs a
padding mask, and sampler and trainer see the very same computation.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from components.losses.language_modelling import capped
from components.models.cache import LayerMemory, Memory
from components.models.config import GPTConfig
from components.models.parts import Angles, angles, mlp, norm, rotate, unit_mean_square

# In bf16 and up to this many keys, plain matrix products beat the CPU's fused kernel, forward and backward together: at
# 64 rows, 2 heads, 104 tokens they took 10 ms where the fused kernel took 33; in fp32 the fused kernel wins (LOG.md).
FUSED_FROM = 512
# Maps whose result is added to the residual stream.
RESIDUAL = ("attention.projection.weight", "mlp.2.weight", "mlp.down.weight")


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


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads, self.kv_heads = config.num_heads, config.kv_heads
        self.epsilon = config.norm_epsilon if config.qk_norm else None
        heads = self.num_heads + 2 * self.kv_heads
        self.qkv = nn.Linear(config.width, heads * config.head_size, bias=config.qkv_bias)
        self.projection = nn.Linear(self.num_heads * config.head_size, config.width, bias=config.projection_bias)

    def forward(
        self, x: Float[Tensor, "B T D"], at: Angles | None = None, memory: LayerMemory | None = None
    ) -> Float[Tensor, "B T D"]:
        """Attend within x; with a memory, also to what it holds for each row."""
        heads = self.num_heads + 2 * self.kv_heads
        parts = self.qkv(x).view(*x.shape[:2], heads, -1).transpose(1, 2)
        turned, values = parts.split((self.num_heads + self.kv_heads, self.kv_heads), dim=1)
        if at is not None:
            turned = rotate(turned, at)
        if self.epsilon is not None:
            turned = unit_mean_square(turned, self.epsilon)
        queries, keys = turned.split((self.num_heads, self.kv_heads), dim=1)
        visible = None
        if memory is not None:
            keys, values, visible = memory.extend(keys, values)
        mixed = attend(queries, keys, values, visible)
        return self.projection(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Each sublayer reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.parallel = config.parallel
        self.attention_norm = norm(config)
        self.attention = Attention(config)
        self.mlp_norm = norm(config)
        self.mlp = mlp(config)

    def forward(
        self, x: Float[Tensor, "B T D"], at: Angles | None = None, memory: LayerMemory | None = None
    ) -> Float[Tensor, "B T D"]:
        if self.parallel:
            return x + self.attention(self.attention_norm(x), at, memory) + self.mlp(self.mlp_norm(x))
        x = x + self.attention(self.attention_norm(x), at, memory)
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """Token embedding, positions, L blocks, a final norm, and a head, which may be the token embedding, transposed.

    zeroed: how the names of weights end that begin at 0.
    """

    def __init__(self, config: GPTConfig, *, zeroed: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        if config.rotary is None:
            self.position_embedding = nn.Embedding(config.context_length, config.width)
        if config.embedding_norm:
            self.embedding_norm = norm(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = norm(config)
        if not config.tied:
            self.output = nn.Linear(config.width, config.vocab_size, bias=False)
        self.apply(self._initialise)
        # GPT-2 section 2.3: residual projections start smaller by 1/sqrt(number of residual layers).
        for name, weight in self.named_parameters():
            if name.endswith(RESIDUAL):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.num_layers))
            if name.endswith(zeroed):
                nn.init.zeros_(weight)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
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
        x, at = self.token_embedding(input_ids), None
        if self.config.rotary is None:
            x = x + self.position_embedding(positions)
        else:
            at = angles(positions, self.config.rotary)
        if self.config.embedding_norm:
            x = self.embedding_norm(x)
        for index, block in enumerate(self.blocks):
            x = block(x, at, None if memory is None else memory.layers[index])
        return self.final_norm(x)

    @property
    def head(self) -> Float[Tensor, "V D"]:
        """Weights of the head: its own, or those of the token embedding."""
        return self.token_embedding.weight if self.config.tied else self.output.weight

    def logits(self, hidden: Float[Tensor, "*places D"]) -> Float[Tensor, "*places V"]:
        """Next-token logits of hidden states."""
        return capped(F.linear(hidden, self.head), self.config.logit_cap)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable scalars, tied weights counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
