"""nanochat (A. Karpathy 2025, github.com/karpathy/nanochat): rotary positions, queries and keys of unit mean square,
norms without gains, squared ReLU, no biases, a normalised embedding, logits with a soft cap."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from components.models.config import GPTConfig, Rotary
from components.models.families.family import Family, Layout, Stored
from components.models.families.keys import Keys, rope_keys, shape_keys
from components.models.sizes import parse_size
from components.sections.base import section

CAP = 15.0
NETWORK: dict[str, Any] = {
    "family": "nanochat", "activation": "relu_squared", "norm": "rms_plain", "qkv_bias": False,
    "projection_bias": False, "mlp_bias": False, "embedding_norm": True, "qk_norm": True,
}  # fmt: skip


@section
class Nanochat(Family):
    """A nanochat to pretrain; maps that add to the residual stream begin at 0: every block begins as nothing."""

    zeroed: ClassVar = ("attention.projection.weight", "mlp.2.weight")
    kind: Literal["nanochat"]

    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        layers, width, heads = parse_size(self.shape)
        rotary = Rotary(10_000.0, width // heads, direction=-1)
        return GPTConfig(
            vocab_size, context_length, layers, width, heads, rotary=rotary, norm_epsilon=1e-6, tied=False,
            logit_cap=CAP, **NETWORK,
        )  # fmt: skip


def read(found: Mapping[str, Any]) -> GPTConfig:
    """The configuration that a `config.json` describes.

    Raises:
        FormatError: it describes another network; all that is wrong is named.
    """
    keys = Keys(found)
    keys.must("hidden_act", "relu2")
    keys.must("attention_bias", False)
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    turning = keys.rotary(width // heads)
    config = GPTConfig(
        **keys.shape(),
        num_kv_heads=keys.whole("num_key_value_heads", default=heads),
        norm_epsilon=keys.real("rms_norm_eps", default=1e-6),
        rotary=Rotary(turning.base, turning.width, -1, turning.scaling),
        tied=keys.flag("tie_word_embeddings", default=False),
        logit_cap=keys.take("final_logit_softcapping"),
        **NETWORK,
    )
    keys.done()
    return config


def write(config: GPTConfig) -> dict[str, Any]:
    """The keys of a `config.json`."""
    assert config.rotary is not None
    return {
        **shape_keys(config),
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "relu2",
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": rope_keys(config.rotary),
        "final_logit_softcapping": config.logit_cap,
        "tie_word_embeddings": config.tied,
    }


def weights(config: GPTConfig) -> dict[str, Stored]:
    """Where each tensor lies."""
    found = {"token_embedding.weight": Stored(("embed_tokens.weight",))}
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"layers.{layer}"
        qkv = tuple(f"{theirs}.self_attn.{name}_proj.weight" for name in "qkv")
        found[f"{ours}.attention.qkv.weight"] = Stored(qkv)
        found[f"{ours}.attention.projection.weight"] = Stored((f"{theirs}.self_attn.o_proj.weight",))
        found[f"{ours}.mlp.0.weight"] = Stored((f"{theirs}.mlp.fc1.weight",))
        found[f"{ours}.mlp.2.weight"] = Stored((f"{theirs}.mlp.fc2.weight",))
    return found


SECTION = Nanochat
CLASSES = {"nanochat": ("NanoChatForCausalLM", None)}
LAYOUT = Layout(CLASSES, "model.", read, write, weights)
