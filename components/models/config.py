"""What a decoder-only transformer is made of. Kept free of torch, since declarations and parameters need it."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class LinearScaling:
    """Positions divided by a factor (position interpolation, arXiv:2306.15595)."""

    kind: Literal["linear"]
    factor: float


@dataclass(frozen=True)
class Llama3Scaling:
    """Slow rotations slowed by a factor, fast ones left, those between them in part (Llama 3.1, arXiv:2407.21783)."""

    kind: Literal["llama3"]
    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context_length: int


@dataclass(frozen=True)
class Rotary:
    """Rotary positions (arXiv:2104.09864, equation 34): of a head's first `width` numbers, halves turn as pairs.

    `direction` is -1 where a later token turns the other way (nanochat).
    """

    base: float
    width: int
    direction: Literal[1, -1] = 1
    scaling: LinearScaling | Llama3Scaling | None = None


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GPTConfig:
    """All that is needed to rebuild a network before its weights are loaded; what is not said is as in GPT-2.

    Attributes:
        family: the module of `components.models.families` that knows its form in `transformers`.
        num_kv_heads: heads of keys and values, shared by groups of queries (arXiv:2305.13245); None: one a query's.
        head_width: None: the width divided by the heads.
        hidden_width: of the feed-forward layer; None: four times the width.
        gated: whether a second map of the same input multiplies the activation (arXiv:2002.05202).
        norm: LayerNorm, RMSNorm (arXiv:1910.07467), or RMSNorm without a gain.
        rotary: None: a learned embedding of each position.
        parallel: whether both sublayers read the block's input (GPT-J), not one the other's result.
        post_norm: whether norms stand behind the sums of each sublayer and there is no final one, as in GPT.
        band: tokens that queries of every other block, from the second, see, their own included (GPT-3); None: all.
        qk_norm: whether queries and keys have mean square 1.
        logit_cap: logits are bent to lie within plus and minus this.
    """

    vocab_size: int
    context_length: int
    num_layers: int
    width: int
    num_heads: int
    family: str = "gpt2"
    num_kv_heads: int | None = None
    head_width: int | None = None
    hidden_width: int | None = None
    activation: Literal["gelu_tanh", "gelu", "silu", "relu_squared"] = "gelu_tanh"
    gated: bool = False
    norm: Literal["layer", "rms", "rms_plain"] = "layer"
    norm_epsilon: float = 1e-5
    rotary: Rotary | None = None
    parallel: bool = False
    post_norm: bool = False
    band: int | None = None
    qkv_bias: bool = True
    projection_bias: bool = True
    mlp_bias: bool = True
    embedding_norm: bool = False
    qk_norm: bool = False
    tied: bool = True
    logit_cap: float | None = None

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def head_size(self) -> int:
        """Numbers a head's query has."""
        return self.head_width or self.width // self.num_heads

    @property
    def mlp_size(self) -> int:
        """Width of the feed-forward layer's hidden state."""
        return self.hidden_width or 4 * self.width


def to_plain(config: GPTConfig) -> dict[str, Any]:
    """A configuration as JSON holds it; what is GPT-2's is left out."""
    return {name: value for name, value in asdict(config).items() if value != _DEFAULTS.get(name, ...)}


def from_plain(plain: dict[str, Any]) -> GPTConfig:
    """The configuration that `to_plain` wrote.

    Raises:
        ValueError: a key is unknown, missing or of another type.
    """
    return _ADAPTER.validate_python(plain)


_ADAPTER = TypeAdapter(GPTConfig)
_DEFAULTS = {name: field.default for name, field in GPTConfig.__dataclass_fields__.items()}
