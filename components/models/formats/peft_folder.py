"""Low-rank adapters as `peft` stores them: a configuration and safetensors, of a base model that lies elsewhere."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from components.models.families.family import layouts
from components.models.families.keys import FormatError
from components.models.formats.stored import WHOLE, Container, SafetensorsFolder, read_json

CONFIG, TENSORS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
BEFORE = "base_model.model."  # what peft puts before a module's name
# What is computed here.
READ = {
    "peft_type", "task_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
    "base_model_name_or_path", "init_lora_weights", "bias",
}  # fmt: skip
# What changes no result: how adapters were trained; which modules have some, as the tensors say too; whether the base
# keeps matrices as [in, out], which its family says. Numbers of methods of which nothing is heard unless they are on.
UNREAD = {
    "auto_mapping", "inference_mode", "lora_dropout", "peft_version", "revision", "megatron_core", "qalora_group_size",
    "runtime_config", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "direction",
    "scale", "stable_gamma", "num_samples", "dirichlet_prior", "sample_scaler", "kl_loss_weight", "buffer_size",
}  # fmt: skip
# Of other beginnings (PiSSA, OLoRA, CorDA) the base's weights are changed as well.
BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters of `peft`.

    Raises:
        FormatError: it holds a whole model as well, and nobody can tell which is meant.
    """
    if not (folder / CONFIG).exists():
        return False
    if (folder / WHOLE).exists():
        raise FormatError(f"{folder} holds {CONFIG} and {WHOLE}, adapters and a whole model: take one of them away")
    return True


def base_of(folder: Path) -> Path:
    """The folder of the model that adapters are of: the path that they name, or one of its name beside or in theirs.

    Raises:
        FormatError: it is not on this machine.
    """
    named = str(read_json(folder / CONFIG).get("base_model_name_or_path") or "")
    places = [Path(named), folder / named, folder.parent / Path(named).name, folder / Path(named).name]
    found = [place for place in places if named and (place / "config.json").exists()]
    if not found:
        raise FormatError(
            f"{folder}: the adapters are of {named or 'a model that is not named'!r}, which is no folder here: put it "
            f"beside, as {folder.parent / (Path(named).name or 'base')}, and name it in {CONFIG}"
        )
    return found[0]


class PeftFolder(Container):
    """A base model's configuration, and its tensors with what the adapters add to them (LoRA, equation 3)."""

    def __init__(self, folder: Path) -> None:
        """Raises: FormatError: something is missing or would be computed otherwise by `peft`; all of it is named."""
        self.folder, self._base = folder, SafetensorsFolder(base_of(folder))
        self.config = self._base.config
        said = read_json(folder / CONFIG)
        self._transposed, unread = _stored(self.config)
        self._pairs, strange = _pairs(_tensors(folder), set(self._base.names()) - unread)
        problems = _problems(said) + strange
        if not problems:
            problems = _misfits(said, self._pairs)
        if problems:
            raise FormatError(f"{folder}: {'; '.join(problems)}")
        self._scales = {name: _scale(said, name, len(down)) for name, (down, _) in self._pairs.items()}

    def names(self) -> Iterable[str]:
        return self._base.names()

    def tensor(self, name: str) -> Float[Tensor, "..."]:
        """Raises: FormatError: the adapter is not of such a matrix."""
        weight, module = self._base.tensor(name), name.removesuffix(".weight")
        if module == name or module not in self._pairs:
            return weight
        down, up = self._pairs[module]
        added = self._scales[module] * up.float() @ down.float()
        added = added.T if name in self._transposed else added
        if added.shape != weight.shape:
            raise FormatError(f"{self.folder}: {module} is {list(weight.shape)}, its adapter {list(added.shape)}")
        return weight.float() + added


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / TENSORS
    if not path.exists():
        pickled = (folder / PICKLE).exists()
        why = f": {PICKLE} is a pickle, which may run any code when it is opened; convert it to safetensors"
        raise FormatError(f"{folder} has no {TENSORS}{why if pickled else ''}")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error


def _pairs(stored: Mapping[str, Tensor], weights: set[str]) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """The two matrices of each adapted module of the base, and what is there besides or lacks its other half."""
    halves: dict[str, dict[str, Tensor]] = {}
    left = []
    for key, tensor in stored.items():
        match = re.fullmatch(re.escape(BEFORE) + r"(.+)\.lora_([AB])\.weight", key)
        if match is None or f"{match[1]}.weight" not in weights or tensor.ndim != 2:
            left.append(key)
        else:
            halves.setdefault(match[1], {})[match[2]] = tensor
    left += [f"{BEFORE}{module}" for module, both in halves.items() if len(both) < 2]
    problems = [f"without a place in the base: {', '.join(sorted(left)[:3])}"] if left else []
    return {module: (both["A"], both["B"]) for module, both in halves.items() if len(both) == 2}, problems


def _problems(said: Mapping[str, Any]) -> list[str]:
    """What the configuration asks for that is not computed here."""
    kind, task, bias = said.get("peft_type"), said.get("task_type"), said.get("bias") or "none"
    beginning = said.get("init_lora_weights")
    checks = {
        f"peft_type is {kind!r}, not 'LORA'": kind != "LORA",
        f"task_type is {task!r}, not 'CAUSAL_LM'": task not in ("CAUSAL_LM", None),
        f"bias is {bias!r}: biases were trained as well": bias != "none",
        f"init_lora_weights is {beginning!r}, which changes the base": beginning not in BEGINNINGS,
    }
    found = [problem for problem, holds in checks.items() if holds]
    asked = [key for key in sorted(said.keys() - READ - UNREAD) if said[key]]
    return found + [f"{key} is {said[key]!r}: not computed here" for key in asked]


def _misfits(said: Mapping[str, Any], pairs: Mapping[str, tuple[Tensor, Tensor]]) -> list[str]:
    """Where the tensors are not those that the configuration tells of."""
    targets, found = said.get("target_modules"), []
    if isinstance(targets, list):
        wanted = [rf"(.*\.)?{re.escape(str(target))}" for target in targets]
    else:
        wanted = [".*" if targets in (None, "all-linear") else str(targets)]
    for pattern, target in zip(wanted, targets if isinstance(targets, list) else [targets], strict=True):
        if not any(re.fullmatch(pattern, module) for module in pairs):
            found.append(f"{TENSORS} has nothing of the target module {target}")
    for module, (down, up) in pairs.items():
        rank = _of(said.get("rank_pattern"), module, said.get("r"))
        if not any(re.fullmatch(pattern, module) for pattern in wanted):
            found.append(f"{module} is none of target_modules")
        if not len(down) == up.shape[1] == rank:
            found.append(f"{module} has the ranks {len(down)} and {up.shape[1]}, the configuration says {rank}")
    return found


def _scale(said: Mapping[str, Any], module: str, rank: int) -> float:
    """What a module's product is multiplied with (rank-stabilised: arXiv:2312.03732)."""
    alpha = float(_of(said.get("alpha_pattern"), module, said.get("lora_alpha", 8)))
    return alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)


def _of(patterns: Mapping[str, Any] | None, module: str, usual: Any) -> Any:
    """The value of the first pattern that a module's name ends with."""
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module)), usual)


def _stored(config: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The tensors that a base keeps as [in, out], and those that nobody reads: a head that is the token embedding."""
    layout = layouts().get(str(config.get("model_type")))
    if layout is None:
        return frozenset(), frozenset()  # what reads the configuration refuses it
    known = layout.read(config)
    rules = [rule for rule in layout.weights(known).values() if rule.form == "transposed"]
    transposed = frozenset(layout.prefix + name for rule in rules for name in rule.names)
    return transposed, frozenset({layout.head} if known.tied else ())
