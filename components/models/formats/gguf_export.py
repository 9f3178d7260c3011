"""Writing a Llama as a GGUF file, which llama.cpp and what is built on it run."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from jaxtyping import Float
from torch import Tensor

from components.data.chat import ChatTokenizer
from components.models.families.family import layout_of
from components.models.families.keys import FormatError
from components.models.formats.gguf_file import INTERLEAVED, KEYS, NAMES
from components.models.formats.gguf_tokenizer import CONTROL, NORMAL, WORDS, pre_tokenizer
from components.models.formats.transformers_format import stored_tensors
from components.models.transformer import GPT


def export_gguf(model: GPT, tokenizer: ChatTokenizer, path: Path, *, name: str) -> None:
    """Write a model with its tokenizer and chat template; matrices in fp16, norms in fp32.

    Raises:
        FormatError: it is no Llama, scales its positions, or cuts text in a way that llama.cpp has no name for here.
    """
    layout = layout_of(model.config.family)
    said = {"model_type": next(iter(layout.classes))} | layout.write(model.config)
    rotary = model.config.rotary
    if said["model_type"] not in ("llama", "qwen2") or rotary is None or rotary.scaling is not None:
        raise FormatError(f"a GGUF file is written of a Llama with plain rotary positions, not of {said['model_type']}")
    writer = gguf.GGUFWriter(path, said["model_type"])
    writer.add_name(name)
    said["rope_theta"] = rotary.base
    for key, ours in KEYS.items():
        if said.get(ours) is not None:
            add = writer.add_float32 if isinstance(said[ours], float) else writer.add_uint32
            add(f"{said['model_type']}.{key}", said[ours])
    _add_tokenizer(writer, tokenizer, size=model.config.vocab_size)
    for theirs, tensor in stored_tensors(layout, model).items():
        values = _interleaved(theirs, tensor, said).numpy()
        writer.add_tensor(_gguf_name(theirs), values.astype(np.float16) if values.ndim == 2 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, chat: ChatTokenizer, *, size: int) -> None:
    plain = json.loads(chat.tokenizer.to_str())
    ids = dict(plain["model"]["vocab"]) | {token["content"]: token["id"] for token in plain["added_tokens"]}
    tokens = [f"[UNUSED_{number}]" for number in range(size)]
    for token, number in ids.items():
        tokens[number] = token
    special = {token["content"] for token in plain["added_tokens"] if token["special"]}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in plain["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cut_of(plain.get("pre_tokenizer")))
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in special else NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(chat.end)
    writer.add_pad_token_id(chat.pad)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat.format.jinja())


def _cut_of(found: Any) -> str:
    """llama.cpp's name for how a tokenizer cuts text."""
    if found == _PLAIN:
        return "gpt-2"
    for name in WORDS:
        if found == json.loads(pre_tokenizer(name).__getstate__()):
            return name
    raise FormatError(f"the tokenizer cuts text in a way that is none of {', '.join(WORDS)}")


# As tokenizers that are trained here have it.
_PLAIN = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _interleaved(name: str, tensor: Float[Tensor, "..."], said: dict[str, Any]) -> Tensor:
    """Rows of a Llama's queries and keys in the order of pairs of neighbours."""
    if said["model_type"] != INTERLEAVED or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    heads = said["num_key_value_heads" if "k_proj" in name else "num_attention_heads"]
    return tensor.view(heads, 2, -1, tensor.shape[-1]).transpose(1, 2).reshape(tensor.shape)


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    for ours, theirs in NAMES.items():
        if stem == theirs:
            return f"{ours}.{kind}"
        if stem.endswith("." + theirs) and stem.startswith("model.layers."):
            return f"blk.{stem.split('.')[2]}.{ours}.{kind}"
    raise FormatError(f"GGUF has no name for {name}")
