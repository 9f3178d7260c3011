"""Model folders: `model.safetensors`, `config.json`, `tokenizer.json`, and `chat.json` where the chat format is another
than the lineage's; saved and loaded together.

A model trained as adapters is saved merged, so that everything can read it. A scalar model also keeps its adapters, in
`adapter.safetensors`: PPO can put them on the trunk that it holds anyway.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from components.data.chat import ChatTokenizer
from components.data.chat_format import CHAT_FILE
from components.models import adapters
from components.models.classifier import ClassifierGPT
from components.models.config import from_plain, to_plain
from components.models.heads import ScalarGPT
from components.models.transformer import GPT
from components.sections.weights import Lora

Model: TypeAlias = GPT | ScalarGPT | ClassifierGPT
CLASSES: dict[str, type[Model]] = {"gpt": GPT, "scalar_gpt": ScalarGPT, "classifier_gpt": ClassifierGPT}


class CheckpointError(ValueError):
    """A model folder is incomplete or does not fit; the message names the file."""


def save_model(
    folder: Path,
    model: Model,
    tokenizer: Path,
    *,
    precision: str | None = None,
    untrained: Sequence[str] = (),
) -> None:
    """Write a model folder whole: it is built beside its place and then moved there.

    precision: what it was trained in, a name of Lightning's; None where that is not known.
    untrained: special tokens that it has never seen.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kind = next(name for name, cls in CLASSES.items() if type(model) is cls)
    if not isinstance(model, ClassifierGPT) and adapters.is_adapted(model):
        if isinstance(model, ScalarGPT):
            _save_adapter(partial / "adapter.safetensors", model)
        model = adapters.merged(model)
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, partial / "model.safetensors")
    config = {"kind": kind} | to_plain(model.config) | ({} if precision is None else {"precision": precision})
    config |= {"untrained": list(untrained)} if untrained else {}
    if isinstance(model, ClassifierGPT):
        config |= {"classes": list(model.classes), "transformation": model.transformation}
    (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    shutil.copyfile(tokenizer, partial / "tokenizer.json")
    if (tokenizer.parent / CHAT_FILE).exists():
        shutil.copyfile(tokenizer.parent / CHAT_FILE, partial / CHAT_FILE)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_gpt(folder: Path) -> GPT:
    """The language model of a folder.

    Raises:
        CheckpointError: the folder is incomplete, or holds another kind of model.
    """
    model = _load(folder)
    if not isinstance(model, GPT):
        raise CheckpointError(f"{folder} holds no language model")
    return model


def load_scalar(folder: Path, trunk: GPT | None = None) -> ScalarGPT:
    """The reward or value model of a folder.

    If it was trained as adapters of `trunk`, it shares the trunk's tensors, frozen, instead of having its own.

    Raises:
        CheckpointError: the folder is incomplete, or holds another kind of model.
    """
    model = _load(folder, trunk)
    if not isinstance(model, ScalarGPT):
        raise CheckpointError(f"{folder} holds no model with a scalar head")
    return model


def load_classifier(folder: Path) -> ClassifierGPT:
    """The classifier of a folder.

    Raises:
        CheckpointError: the folder is incomplete, or holds another kind of model.
    """
    model = _load(folder)
    if not isinstance(model, ClassifierGPT):
        raise CheckpointError(f"{folder} holds no classifier")
    return model


def load_tokenizer(folder: Path) -> ChatTokenizer:
    """The tokenizer a model was trained with, kept in its folder.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    try:
        return ChatTokenizer.load(folder / "tokenizer.json")
    except Exception as error:  # the library raises Exception itself for a missing and for a broken file
        raise CheckpointError(f"{folder / 'tokenizer.json'} is not a tokenizer of this project: {error}") from error


def model_kind(folder: Path) -> str:
    """The key in `CLASSES` of the model that a folder holds.

    Raises:
        CheckpointError: it holds none; names the model folder below it where there is one.
    """
    try:
        return str(json.loads((folder / "config.json").read_text())["kind"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        below = folder / "model"
        hint = f" {below} is one." if (below / "config.json").exists() else ""
        raise CheckpointError(
            f"{folder} is not a model folder: no config.json of this project in it ({error}).{hint}"
        ) from error


def recorded_precision(folder: Path) -> str | None:
    """What a folder's model was trained in, a name of Lightning's; None where the folder does not say."""
    precision = json.loads((folder / "config.json").read_text()).get("precision")
    return None if precision is None else str(precision)


def untrained_tokens(folder: Path) -> list[str]:
    """The special tokens that a folder's model has never seen."""
    return list(json.loads((folder / "config.json").read_text()).get("untrained", ()))


def is_own(folder: Path) -> bool:
    """Whether a folder is one that this project wrote."""
    try:
        return model_kind(folder) in CLASSES
    except CheckpointError:
        return False


def _save_adapter(path: Path, model: ScalarGPT) -> None:
    shape = adapters.adapter_shape(model)
    tensors = {name: tensor.contiguous() for name, tensor in adapters.adapter_tensors(model).items()}
    metadata = {"rank": str(shape.rank), "alpha": str(shape.alpha), "trunk_sha256": adapters.trunk_digest(model)}
    save_file(tensors, path, metadata=metadata)


def _load(folder: Path, trunk: GPT | None = None) -> nn.Module:
    try:
        if trunk is not None and (folder / "adapter.safetensors").exists():
            model = _load_adapted(folder / "adapter.safetensors", trunk)
            if model is not None:
                return model
        config = json.loads((folder / "config.json").read_text())
        for about in ("precision", "untrained"):
            config.pop(about, None)
        kind, more = CLASSES[config.pop("kind")], {}
        if kind is ClassifierGPT:
            more = {"classes": tuple(config.pop("classes")), "transformation": config.pop("transformation")}
        plain = kind(from_plain(config), **more)
        plain.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is not a complete model folder: {error}") from error
    return plain.eval()


def _load_adapted(path: Path, trunk: GPT) -> ScalarGPT | None:
    """The adapters of a file on a trunk; None if they were made for another one."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if metadata["trunk_sha256"] != adapters.trunk_digest(trunk):
        return None
    shape = Lora(kind="lora", rank=int(metadata["rank"]), alpha=float(metadata["alpha"]))
    return adapters.on_trunk(trunk, load_file(path), shape)
