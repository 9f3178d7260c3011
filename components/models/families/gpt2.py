"""GPT-2 (Radford et al. 2019): pre-LN blocks, tanh GELU, learned positions, a tied head.

GPT-2's released code keeps the weight of an affine map as [in, out] (a "Conv1D"), `nn.Linear` as [out, in]. A square
matrix transposed wrongly passes every shape check, so only equal logits prove a conversion.
"""

from collections.abc import Mapping
from typing import Any, Literal

from components.models.config import GPTConfig
from components.models.families.family import Family, Layout, Stored
from components.models.families.keys import Keys, gpt_keys
from components.models.sizes import config_for
from components.sections.base import section

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


@section
class Gpt2(Family):
    """GPT-2, and GPT-3 without its sparse attention."""

    kind: Literal["gpt2"]

    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        return config_for(self.shape, vocab_size=vocab_size, context_length=context_length)


def read(found: Mapping[str, Any]) -> GPTConfig:
    """The configuration that a `config.json` describes.

    Raises:
        FormatError: it describes another network; all that is wrong is named.
    """
    keys = Keys(found)
    keys.must("scale_attn_weights", True)
    keys.must("scale_attn_by_inverse_layer_idx", False)
    keys.must("add_cross_attention", False)
    keys.must("activation_function", *ACTIVATIONS)
    config = GPTConfig(
        keys.whole("vocab_size"),
        keys.whole("n_positions"),
        keys.whole("n_layer"),
        keys.whole("n_embd"),
        keys.whole("n_head"),
        hidden_width=keys.whole("n_inner", default=4 * keys.whole("n_embd")),
        activation=ACTIVATIONS.get(keys.take("activation_function", default="gelu_new"), "gelu_tanh"),  # type: ignore[arg-type]
        norm_epsilon=keys.real("layer_norm_epsilon", default=1e-5),
        tied=keys.flag("tie_word_embeddings", default=True),
    )
    keys.done()
    return config


def write(config: GPTConfig) -> dict[str, Any]:
    """The keys of a `config.json`."""
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return gpt_keys(config) | {"n_inner": config.mlp_size, "activation_function": names[config.activation]}


def weights(config: GPTConfig) -> dict[str, Stored]:
    """Where each tensor lies."""
    names = {"token_embedding.weight": "wte.weight", "position_embedding.weight": "wpe.weight"}
    matrices = {
        "attention.qkv": "attn.c_attn",
        "attention.projection": "attn.c_proj",
        "mlp.0": "mlp.c_fc",
        "mlp.2": "mlp.c_proj",
    }
    found = {ours: Stored((theirs,)) for ours, theirs in names.items()}
    for part in ("weight", "bias"):
        found[f"final_norm.{part}"] = Stored((f"ln_f.{part}",))
        for layer in range(config.num_layers):
            ours, theirs = f"blocks.{layer}", f"h.{layer}"
            found[f"{ours}.attention_norm.{part}"] = Stored((f"{theirs}.ln_1.{part}",))
            found[f"{ours}.mlp_norm.{part}"] = Stored((f"{theirs}.ln_2.{part}",))
            form: Literal["transposed", "rows"] = "transposed" if part == "weight" else "rows"
            for name, stored in matrices.items():
                found[f"{ours}.{name}.{part}"] = Stored((f"{theirs}.{stored}.{part}",), form)
    return found


SECTION = Gpt2
CLASSES = {"gpt2": ("GPT2LMHeadModel", "GPT2ForSequenceClassification")}
LAYOUT = Layout(CLASSES, "transformer.", read, write, weights)
