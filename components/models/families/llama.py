"""Llama and those built like it: RMSNorm, rotary positions, SwiGLU, keys and values shared by groups of queries.

Llama 1 to 3, Mistral (within its window), Qwen2, SmolLM2 and TinyLlama (arXiv:2302.13971, 2307.09288, 2407.21783).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from components.models.config import GPTConfig, Rotary
from components.models.families.family import Family, Layout, Stored
from components.models.families.keys import Keys, rope_keys, shape_keys
from components.models.sizes import parse_size
from components.sections.base import Positive, section

HIDDEN_MULTIPLE = 32


@section
class Llama(Family):
    """A Llama to pretrain; `kv_heads` of keys and values, 0 for one a query's head."""

    kind: Literal["llama"]
    kv_heads: Annotated[int, Field(ge=0)] = 0
    rope_base: Positive = 10_000.0

    @model_validator(mode="after")
    def _heads_are_groups(self) -> "Llama":
        _, _, heads = parse_size(self.shape)
        if self.kv_heads and heads % self.kv_heads:
            raise ValueError(f"{heads} heads of queries are not groups of {self.kv_heads} heads of keys")
        return self

    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        """The hidden width is two thirds of four times the width, so that three matrices weigh what two did."""
        layers, width, heads = parse_size(self.shape)
        hidden = -(-8 * width // 3 // HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE
        rotary = Rotary(self.rope_base, width // heads)
        return GPTConfig(
            vocab_size, context_length, layers, width, heads, num_kv_heads=self.kv_heads or heads, hidden_width=hidden,
            rotary=rotary, norm_epsilon=1e-5, **NETWORK,
        )  # fmt: skip


NETWORK: dict[str, Any] = {
    "family": "llama", "activation": "silu", "gated": True, "norm": "rms", "qkv_bias": False, "projection_bias": False,
    "mlp_bias": False,
}  # fmt: skip


def read(found: Mapping[str, Any]) -> GPTConfig:
    """The configuration that a `config.json` describes.

    Raises:
        FormatError: it describes another network; all that is wrong is named.
    """
    keys = Keys(found)
    keys.must("hidden_act", "silu", "swish")
    keys.must("rope_interleaved", False)
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    head_width = keys.whole("head_dim", default=max(1, width // heads))
    kv_heads = keys.whole("num_key_value_heads", default=heads)
    if heads % kv_heads:
        keys.problems.append(f"{heads} num_attention_heads are not groups of {kv_heads} num_key_value_heads")
    bias = keys.flag("attention_bias", default=False)
    config = GPTConfig(
        **keys.shape(),
        num_kv_heads=kv_heads,
        head_width=head_width,
        norm_epsilon=keys.real("rms_norm_eps", default=1e-6),
        rotary=keys.rotary(head_width),
        tied=keys.flag("tie_word_embeddings", default=False),
        **NETWORK
        | {
            "qkv_bias": bias or found.get("model_type") == "qwen2",
            "projection_bias": bias,
            "mlp_bias": keys.flag("mlp_bias", default=False),
        },
    )
    keys.done()
    return config


def write(config: GPTConfig) -> dict[str, Any]:
    """The keys of a `config.json`: of a Qwen2 where queries, keys and values have biases and nothing else has."""
    assert config.rotary is not None
    qwen = config.qkv_bias and not config.projection_bias
    return {
        **({"model_type": "qwen2", "use_sliding_window": False} if qwen else {
            "attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias, "head_dim": config.head_size}),
        **shape_keys(config),
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": rope_keys(config.rotary),
        "tie_word_embeddings": config.tied,
    }  # fmt: skip


def weights(config: GPTConfig) -> dict[str, Stored]:
    """Where each tensor lies."""
    found = {"token_embedding.weight": Stored(("embed_tokens.weight",)), "final_norm.weight": Stored(("norm.weight",))}
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"layers.{layer}"
        found[f"{ours}.attention_norm.weight"] = Stored((f"{theirs}.input_layernorm.weight",))
        found[f"{ours}.mlp_norm.weight"] = Stored((f"{theirs}.post_attention_layernorm.weight",))
        for part in ("weight", "bias"):
            qkv = tuple(f"{theirs}.self_attn.{name}_proj.{part}" for name in "qkv")
            gate_up = tuple(f"{theirs}.mlp.{name}_proj.{part}" for name in ("gate", "up"))
            found[f"{ours}.attention.qkv.{part}"] = Stored(qkv)
            found[f"{ours}.attention.projection.{part}"] = Stored((f"{theirs}.self_attn.o_proj.{part}",))
            found[f"{ours}.mlp.gate_up.{part}"] = Stored(gate_up)
            found[f"{ours}.mlp.down.{part}"] = Stored((f"{theirs}.mlp.down_proj.{part}",))
    return found


SECTION = Llama
CLASSES = {
    "llama": ("LlamaForCausalLM", "LlamaForSequenceClassification"),
    "mistral": ("MistralForCausalLM", "MistralForSequenceClassification"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2ForSequenceClassification"),
}
LAYOUT = Layout(CLASSES, "model.", read, write, weights)
