"""GPT-NeoX (arXiv:2204.06745) and Pythia (arXiv:2304.01373): parallel sublayers, a part of each head turns."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from components.models.config import GPTConfig, Rotary
from components.models.families.family import Family, Layout, Stored
from components.models.families.keys import Keys, rope_keys, shape_keys
from components.models.sizes import parse_size
from components.sections.base import section

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh"}


@section
class Neox(Family):
    """A GPT-NeoX to pretrain; `rotary_share` of each head's numbers turn."""

    kind: Literal["neox"]
    rotary_share: Annotated[float, Field(gt=0, le=1)] = 0.25

    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        layers, width, heads = parse_size(self.shape)
        turning = max(2, int(width // heads * self.rotary_share) // 2 * 2)
        return GPTConfig(
            vocab_size, context_length, layers, width, heads, family="neox", activation="gelu",
            rotary=Rotary(10_000.0, turning), parallel=True, tied=False,
        )  # fmt: skip


def read(found: Mapping[str, Any]) -> GPTConfig:
    """The configuration that a `config.json` describes.

    Raises:
        FormatError: it describes another network; all that is wrong is named.
    """
    keys = Keys(found)
    keys.must("hidden_act", *ACTIVATIONS)
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    bias = keys.flag("attention_bias", default=True)
    config = GPTConfig(
        **keys.shape(),
        family="neox",
        activation=ACTIVATIONS.get(keys.take("hidden_act", default="gelu"), "gelu"),  # type: ignore[arg-type]
        norm_epsilon=keys.real("layer_norm_eps", default=1e-5),
        rotary=keys.rotary(width // heads, share=0.25, share_name="rotary_pct"),
        parallel=keys.flag("use_parallel_residual", default=True),
        qkv_bias=bias,
        projection_bias=bias,
        tied=keys.flag("tie_word_embeddings", default=False),
    )
    keys.done()
    return config


def write(config: GPTConfig) -> dict[str, Any]:
    """The keys of a `config.json`."""
    assert config.rotary is not None
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        **shape_keys(config),
        "hidden_act": names[config.activation],
        "layer_norm_eps": config.norm_epsilon,
        "use_parallel_residual": config.parallel,
        "attention_bias": config.qkv_bias,
        "rope_parameters": rope_keys(config.rotary, share=config.rotary.width / config.head_size),
        "tie_word_embeddings": config.tied,
    }


def weights(config: GPTConfig) -> dict[str, Stored]:
    """Where each tensor lies."""
    matrices = {"attention.projection": "attention.dense", "mlp.0": "mlp.dense_h_to_4h", "mlp.2": "mlp.dense_4h_to_h",
                "attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}  # fmt: skip
    found = {"token_embedding.weight": Stored(("embed_in.weight",))}
    for part in ("weight", "bias"):
        found[f"final_norm.{part}"] = Stored((f"final_layer_norm.{part}",))
        for layer in range(config.num_layers):
            ours, theirs = f"blocks.{layer}", f"layers.{layer}"
            found[f"{ours}.attention.qkv.{part}"] = Stored((f"{theirs}.attention.query_key_value.{part}",), "heads")
            for name, stored in matrices.items():
                found[f"{ours}.{name}.{part}"] = Stored((f"{theirs}.{stored}.{part}",))
    return found


SECTION = Neox
CLASSES = {"gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXForSequenceClassification")}
LAYOUT = Layout(CLASSES, "gpt_neox.", read, write, weights, "embed_out.weight")
