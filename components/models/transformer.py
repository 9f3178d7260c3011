"""The decoder-only transformer of every family: what its configuration does not say is as in GPT-2 (pre-LN, tied head,
learned positions).

Layout of a batch: every row is `prompt, response, padding`, contiguous from position 0. Under a causal
mask a real token never sees the padding on its right, so no forward pass of this project needs a
padding mask, and sampler and trainer see the very same computation.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from components.losses.language_modelling import capped
from components.models.attention import attend_heads
from components.models.cache import LayerMemory, Memory
from components.models.config import GPTConfig
from components.models.parts import mlp, norm
from components.models.rotary import Angles, angles, prepare_heads

# Maps whose result is added to the residual stream.
RESIDUAL = ("attention.projection.weight", "mlp.2.weight", "mlp.down.weight")


class Attention(nn.Module):
    """Causal self-attention of several heads; with a band, to no more than so many tokens, the own included."""

    def __init__(self, config: GPTConfig, band: int | None = None) -> None:
        super().__init__()
        self.band = band
        self.num_heads, self.kv_heads = config.num_heads, config.kv_heads
        self.epsilon = config.norm_epsilon if config.qk_norm else None
        heads = self.num_heads + 2 * self.kv_heads
        self.qkv = nn.Linear(config.width, heads * config.head_size, bias=config.qkv_bias)
        self.projection = nn.Linear(self.num_heads * config.head_size, config.width, bias=config.projection_bias)

    def forward(
        self, x: Float[Tensor, "B T D"], at: Angles | None = None, memory: LayerMemory | None = None
    ) -> Float[Tensor, "B T D"]:
        """Attend within x, as a memory says where there is one."""
        heads = self.qkv(x).view(*x.shape[:2], self.num_heads + 2 * self.kv_heads, -1)
        heads = prepare_heads(heads, at, count=self.num_heads + self.kv_heads, epsilon=self.epsilon)
        reach = attend_heads if memory is None else memory.attend
        mixed = reach(heads, self.kv_heads, self.band)
        return self.projection(mixed.flatten(-2))


class Block(nn.Module):
    """Each sublayer reads a normalised copy and adds to the residual stream, or normalises the sum (GPT)."""

    def __init__(self, config: GPTConfig, band: int | None = None) -> None:
        super().__init__()
        self.parallel, self.post_norm = config.parallel, config.post_norm
        self.attention_norm = norm(config)
        self.attention = Attention(config, band)
        self.mlp_norm = norm(config)
        self.mlp = mlp(config)

    def forward(
        self, x: Float[Tensor, "B T D"], at: Angles | None = None, memory: LayerMemory | None = None
    ) -> Float[Tensor, "B T D"]:
        if self.post_norm:
            x = self.attention_norm(x + self.attention(x, at, memory))
            return self.mlp_norm(x + self.mlp(x))
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
        bands = [config.band if layer % 2 else None for layer in range(config.num_layers)]
        self.blocks = nn.ModuleList(Block(config, band) for band in bands)
        self.final_norm = nn.Identity() if config.post_norm else norm(config)
        if not config.tied:
            self.output = nn.Linear(config.width, config.vocab_size, bias=False)
        self.apply(self._initialise)
        # GPT-2 section 2.3: residual projections start smaller by 1/sqrt(number of residual layers).
        for name, weight in self.named_parameters():
            if name.endswith(RESIDUAL) and not config.post_norm:  # GPT has one deviation for all
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
        longest = input_ids.shape[1]
        if memory is None:
            positions = torch.arange(longest, device=input_ids.device)
        else:
            positions = memory.start(longest)
            longest = memory.longest
        if longest > self.config.context_length:
            raise ValueError(f"{longest} tokens exceed the context of {self.config.context_length}")
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
