"""GPT-2 as the `transformers` library stores it: `config.json` and `model.safetensors`, in and out.

The networks are the same function; names and layout differ. GPT-2's released code keeps the weight of an affine map as
[in, out] (a "Conv1D"), `nn.Linear` as [out, in]. A square matrix transposed wrongly passes every shape check, so only
equal logits prove a conversion (tests/components/test_gpt2_format.py).
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.models.sizes import GPTConfig
from components.models.transformer import GPT

NAMES = {
    "token_embedding": "wte",
    "position_embedding": "wpe",
    "final_norm": "ln_f",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.0": "mlp.c_fc",
    "mlp.2": "mlp.c_proj",
    "blocks": "h",
}
SHAPE = ("vocab_size", "n_positions", "n_layer", "n_embd", "n_head")  # in the order of GPTConfig
MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
LAYER_NORM_EPSILON = 1e-5
# What decides the function and is fixed here; a stored model that says otherwise is another network.
REQUIRED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (LAYER_NORM_EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "tie_word_embeddings": (True,),
}
DEFAULTS = {"activation_function": "gelu_new", "layer_norm_epsilon": LAYER_NORM_EPSILON, "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True}  # fmt: skip


class FormatError(ValueError):
    """A folder does not hold a GPT-2 that this project's transformer can be; the message says why."""


def export_gpt2(model: GPT, folder: Path, *, end_id: int, pad_id: int) -> None:
    """Write a model so that `transformers.AutoModelForCausalLM.from_pretrained(folder)` loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {_renamed(name): _transposed(_renamed(name), weight) for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shape = model.config
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": shape.vocab_size,
        "n_positions": shape.context_length,
        "n_embd": shape.width,
        "n_layer": shape.num_layers,
        "n_head": shape.num_heads,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": end_id,
        "pad_token_id": pad_id,
        **DEFAULTS,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def import_gpt2(folder: Path) -> GPT:
    """Read a GPT-2 that `transformers` or its hub wrote.

    Raises:
        FormatError: the folder is incomplete, or its network is not GPT-2's as defined here.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        stored = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise FormatError(f"{folder} needs config.json and model.safetensors: {error}") from error
    if not isinstance(config, dict):
        raise FormatError(f"{folder / 'config.json'} is not a GPT-2's: it holds a {type(config).__name__}")
    _check(config, folder)
    missing = [key for key in SHAPE if not isinstance(config.get(key), int)]
    if missing:
        raise FormatError(f"{folder / 'config.json'} is not a GPT-2's: no whole number for {', '.join(missing)}")
    model = GPT(GPTConfig(*(config[key] for key in SHAPE)))
    bare = {name.removeprefix("transformer."): weight for name, weight in stored.items()}
    try:
        weights = {name: _transposed(_renamed(name, ""), bare[_renamed(name, "")]) for name in model.state_dict()}
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise FormatError(f"{folder / 'model.safetensors'} does not fit its config.json: {error}") from error
    return model.eval()


def _check(config: dict[str, Any], folder: Path) -> None:
    wrong = [
        f"{key} is {config.get(key, DEFAULTS.get(key))!r}, not {' or '.join(map(repr, allowed))}"
        for key, allowed in REQUIRED.items()
        if config.get(key, DEFAULTS.get(key)) not in allowed
    ]
    inner = config.get("n_inner")
    if inner not in (None, 4 * config.get("n_embd", 0)):
        wrong.append(f"n_inner is {inner}, not four times n_embd")
    if wrong:
        raise FormatError(f"{folder / 'config.json'}: {'; '.join(wrong)}")


def _renamed(name: str, prefix: str = "transformer.") -> str:
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return prefix + name


def _transposed(name: str, weight: Tensor) -> Tensor:
    return weight.T.contiguous() if name.endswith(MATRICES) else weight.contiguous()
