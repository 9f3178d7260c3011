"""GGUF, the file of llama.cpp: configuration, tokenizer and weights in one, often quantised."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gguf
import torch
from jaxtyping import Float
from torch import Tensor

from components.models.families.keys import FormatError
from components.models.formats.stored import Container

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
# What repeats other keys, and what is said with the value that is computed anyway.
UNREAD = ("attention.value_length", "rope.dimension_count")
ARCHITECTURES = ("llama", "qwen2")
INTERLEAVED = "llama"  # llama.cpp turns neighbouring numbers of a Llama's head; its converter reorders the rows


class GgufFile(Container):
    """A GGUF file's configuration, and its tensors under the names of `transformers`, dequantised when read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.reader = gguf.GGUFReader(path)
        except (OSError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            raise FormatError(f"{path} is no GGUF file that can be read: {error}") from error
        self._tensors = {self._named(tensor.name): tensor for tensor in self.reader.tensors}
        self.config = self._config()

    def value(self, key: str, default: Any = None) -> Any:
        """A value of the metadata."""
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    def names(self) -> Iterable[str]:
        return self._tensors

    def tensor(self, name: str) -> Float[Tensor, "..."]:
        """Raises: FormatError: it is quantised in a way that `gguf` does not undo."""
        stored = self._tensors[name]
        try:
            plain = gguf.dequantize(stored.data, stored.tensor_type)
        except (NotImplementedError, ValueError) as error:
            raise FormatError(f"{self.path}: {name} is {stored.tensor_type.name}: {error}") from error
        tensor = torch.tensor(plain)  # a copy: what was read is a view of the file
        if self.config["model_type"] == INTERLEAVED and name.endswith(("q_proj.weight", "k_proj.weight")):
            return self._halves(tensor, "num_key_value_heads" if "k_proj" in name else "num_attention_heads")
        return tensor

    def quantisation(self) -> dict[str, int]:
        """How many tensors are stored in which way."""
        kinds = [tensor.tensor_type.name for tensor in self.reader.tensors]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    def _halves(self, rows: Tensor, heads: str) -> Tensor:
        """Rows of heads from pairs of neighbours to pairs half a head apart."""
        return rows.view(self.config[heads], -1, 2, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)

    def _named(self, name: str) -> str:
        part, _, kind = name.rpartition(".")
        layer = part.split(".")
        where = f"model.layers.{layer[1]}." if layer[0] == "blk" and len(layer) == 3 else ""
        if layer[-1] not in NAMES:
            raise FormatError(f"{self.path}: there is no place for the tensor {name}")
        return f"{where}{NAMES[layer[-1]]}.{kind}"

    def _config(self) -> dict[str, Any]:
        architecture = self.value("general.architecture")
        if architecture not in ARCHITECTURES:
            raise FormatError(f"{self.path} is a {architecture!r}; of GGUF files {', '.join(ARCHITECTURES)} are read")
        prefix = f"{architecture}."
        found = {key.removeprefix(prefix): field for key, field in self.reader.fields.items() if key.startswith(prefix)}
        unknown = sorted(found.keys() - KEYS.keys() - set(UNREAD))
        if unknown:
            raise FormatError(f"{self.path}: {', '.join(prefix + key for key in unknown)}: not understood")
        config = {KEYS[key]: _number(field.contents) for key, field in found.items() if key in KEYS}
        config |= {"model_type": architecture, "hidden_act": "silu", "tie_word_embeddings": True}
        if "lm_head.weight" in self._tensors:
            config["tie_word_embeddings"] = False
        if "model.embed_tokens.weight" in self._tensors:
            config["vocab_size"] = int(self._tensors["model.embed_tokens.weight"].shape[1])
        return config


def _number(contents: Callable[[], Any]) -> Any:
    """A float32 as the decimal number it stands for: 1e-5, not 9.999999747378752e-06."""
    value = contents()
    return float(f"{value:.7g}") if isinstance(value, float) else value
