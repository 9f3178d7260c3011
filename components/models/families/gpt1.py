"""GPT (Radford et al. 2018): norms behind each sublayer's sum and none at the end, learned positions, tanh GELU.

`transformers` calls it OpenAI GPT; what its `afn: gelu` says is the tanh form, as in the released code.
"""

from collections.abc import Mapping
from typing import Any, Literal

from components.models.config import GPTConfig
from components.models.families.family import Family, Layout, Stored
from components.models.families.keys import Keys, gpt_keys
from components.models.sizes import parse_size
from components.sections.base import section


@section
class Gpt1(Family):
    """GPT; the published size is gpt1-117M, its context 512 tokens."""

    kind: Literal["gpt1"]

    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        return GPTConfig(vocab_size, context_length, *parse_size(self.shape), family="gpt1", post_norm=True)


def read(found: Mapping[str, Any]) -> GPTConfig:
    """The configuration that a `config.json` describes.

    Raises:
        FormatError: it describes another network; all that is wrong is named.
    """
    keys = Keys(found)
    keys.must("afn", "gelu")
    config = GPTConfig(
        keys.whole("vocab_size"),
        keys.whole("n_positions"),
        keys.whole("n_layer"),
        keys.whole("n_embd"),
        keys.whole("n_head"),
        family="gpt1",
        norm_epsilon=keys.real("layer_norm_epsilon", default=1e-5),
        tied=keys.flag("tie_word_embeddings", default=True),
        post_norm=True,
    )
    keys.done()
    return config


def write(config: GPTConfig) -> dict[str, Any]:
    """The keys of a `config.json`."""
    return gpt_keys(config) | {"afn": "gelu"}


def weights(config: GPTConfig) -> dict[str, Stored]:
    """Where each tensor lies."""
    found = {
        "token_embedding.weight": Stored(("tokens_embed.weight",)),
        "position_embedding.weight": Stored(("positions_embed.weight",)),
    }
    names = {"attention.qkv": "attn.c_attn", "attention.projection": "attn.c_proj", "mlp.0": "mlp.c_fc",
             "mlp.2": "mlp.c_proj", "attention_norm": "ln_1", "mlp_norm": "ln_2"}  # fmt: skip
    for layer in range(config.num_layers):
        for ours, theirs in names.items():
            form: Literal["transposed", "rows"] = "rows" if ours.endswith("norm") else "transposed"
            found[f"blocks.{layer}.{ours}.weight"] = Stored((f"h.{layer}.{theirs}.weight",), form)
            found[f"blocks.{layer}.{ours}.bias"] = Stored((f"h.{layer}.{theirs}.bias",))
    return found


SECTION = Gpt1
CLASSES = {"openai-gpt": ("OpenAIGPTLMHeadModel", "OpenAIGPTForSequenceClassification")}
LAYOUT = Layout(CLASSES, "transformer.", read, write, weights)
