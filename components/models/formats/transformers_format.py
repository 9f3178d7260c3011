"""Models to and from the form of the `transformers` library, whatever their family and container."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from components.models.config import GPTConfig
from components.models.families.family import Layout, Stored, layout_of, layouts
from components.models.families.keys import FormatError
from components.models.formats.stored import Container, open_stored
from components.models.heads import ScalarGPT
from components.models.transformer import GPT

# What older files hold besides: masks, and frequencies that follow from the configuration.
DERIVED = re.compile(r"(\.attn\.(bias|masked_bias)|\.attention\.(bias|masked_bias)|rotary_emb\.inv_freq)$")


def import_model(source: Path) -> GPT:
    """The model of a folder or a file (`open_stored`), its weights in fp32, read tensor by tensor.

    Raises:
        FormatError: no family is like it, its configuration asks for what is not computed, or its weights do not fit.
    """
    stored = open_stored(source)
    known, model_type = layouts(), stored.config.get("model_type")
    if model_type not in known:
        raise FormatError(f"{source}: model_type is {model_type!r}; {', '.join(sorted(known))} are known here")
    layout = known[model_type]
    try:
        config = layout.read(stored.config)
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from None
    with torch.device("meta"):  # no weights of its own: each is replaced by what is read
        model = GPT(config)
    places = _places(layout, model)
    _check_names(source, stored, places, copy=layout.head if config.tied else None)
    try:
        weights = {name: _joined(rule, config, stored) for name, rule in places.items()}
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise FormatError(f"{source}: the weights do not fit the configuration: {error}") from error
    return model.eval()


def export_model(model: GPT, folder: Path, *, end_id: int, pad_id: int) -> None:
    """Write a model so that `transformers.AutoModelForCausalLM.from_pretrained(folder)` loads it.

    Raises:
        FormatError: nothing says how its family is stored.
    """
    layout = layout_of(model.config.family)
    tokens = {"bos_token_id": None, "eos_token_id": end_id, "pad_token_id": pad_id}
    _write(folder, stored_tensors(layout, model), _config(layout, model.config) | tokens)


def export_scalar(model: ScalarGPT, folder: Path, *, end_id: int, pad_id: int) -> None:
    """Write a reward model so that `transformers.AutoModelForSequenceClassification.from_pretrained(folder)` loads it.

    Its score is ours less a constant, `reward_offset` in the configuration: the map there has no bias.

    Raises:
        FormatError: the family has no such class there.
    """
    layout = layout_of(model.config.family)
    said = _config(layout, model.config, scores=True)
    weights = stored_tensors(layout, model.body)
    weights.pop(layout.head, None)  # no tokens are predicted there
    about: dict[str, Any] = {"num_labels": 1, "id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    about |= {"eos_token_id": end_id, "pad_token_id": pad_id, "reward_offset": float(model.head.bias.detach())}
    score = {"score.weight": model.head.weight.detach().contiguous()}
    _write(folder, weights | score, said | about)


def stored_tensors(layout: Layout, model: GPT) -> dict[str, Float[Tensor, "..."]]:
    """A model's tensors as they are stored."""
    state = model.state_dict()
    return {
        name: part
        for ours, rule in _places(layout, model).items()
        for name, part in _apart(rule, model.config, state[ours]).items()
    }


def _config(layout: Layout, config: GPTConfig, *, scores: bool = False) -> dict[str, Any]:
    """The keys that say what a network is."""
    said = {"model_type": next(iter(layout.classes))} | layout.write(config)
    architecture = layout.classes[said["model_type"]][scores]
    if architecture is None:
        raise FormatError(f"transformers has no sequence classification of the family {config.family}")
    return said | {"architectures": [architecture], "dtype": "float32"}


def _write(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def _places(layout: Layout, model: GPT) -> dict[str, Stored]:
    """Where each tensor of a model is stored, under full names."""
    rules = layout.weights(model.config)
    places = {
        name: Stored(tuple(layout.prefix + part for part in rules[name].names), rules[name].form)
        for name in model.state_dict()
        if name in rules
    }
    if not model.config.tied:
        places["output.weight"] = Stored((layout.head,))
    return places


def _check_names(source: Path, stored: Container, places: dict[str, Stored], *, copy: str | None) -> None:
    """copy: a tensor that may be there besides, since it is the token embedding once more."""
    wanted = {name for rule in places.values() for name in rule.names}
    there = set(stored.names())
    missing = sorted(wanted - there)
    left = sorted(name for name in there - wanted if not DERIVED.search(name) and name != copy)
    if missing or left:
        raise FormatError(
            f"{source}: the weights do not fit the configuration"
            + (f"; missing: {_some(missing)}" if missing else "")
            + (f"; without a place: {_some(left)}" if left else "")
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _joined(rule: Stored, config: GPTConfig, stored: Container) -> Tensor:
    """One of our tensors from those stored."""
    parts = [stored.tensor(name).to(torch.float32) for name in rule.names]
    match rule.form:
        case "transposed":
            return parts[0].T.contiguous()
        case "heads":
            split = parts[0].view(config.num_heads, 3, config.head_size, *parts[0].shape[1:])
            return split.transpose(0, 1).reshape(parts[0].shape).contiguous()
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _apart(rule: Stored, config: GPTConfig, weight: Tensor) -> dict[str, Tensor]:
    """What is stored of one of our tensors: `_joined` the other way."""
    weight = weight.detach()
    match rule.form:
        case "transposed":
            return {rule.names[0]: weight.T.contiguous()}
        case "heads":
            split = weight.view(3, config.num_heads, config.head_size, *weight.shape[1:])
            return {rule.names[0]: split.transpose(0, 1).reshape(weight.shape).contiguous()}
    if len(rule.names) == 1:
        return {rule.names[0]: weight.contiguous()}
    keys = config.kv_heads * config.head_size
    rows = [len(weight) - 2 * keys, keys, keys] if len(rule.names) == 3 else [len(weight) // 2] * 2
    return {name: part.contiguous() for name, part in zip(rule.names, torch.split(weight, rows), strict=True)}
