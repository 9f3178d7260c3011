"""A stored model as two things: the keys of its configuration, and tensors by the names of `transformers`."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from components.models.families.keys import FormatError

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Container(ABC):
    """What holds a model: the keys of its configuration, and its tensors."""

    config: dict[str, Any]

    @abstractmethod
    def names(self) -> Iterable[str]:
        """The tensors that are there."""

    @abstractmethod
    def tensor(self, name: str) -> Float[Tensor, "..."]:
        """One of them, read now."""


def open_stored(source: Path) -> Container:
    """A folder with config.json and safetensors, whole or sharded with an index; one of adapters, or of GPT or GPT-2 as
    they were released; or a GGUF file.

    Raises:
        FormatError: it is none of them, or a file is missing or broken.
    """
    if source.suffix == ".gguf":
        from components.models.formats.gguf_file import GgufFile  # noqa: PLC0415 (only where one is read)

        return GgufFile(source)
    from components.models.formats.released_gpt1 import ReleasedGpt1, is_released_gpt1  # noqa: PLC0415 (as above)
    from components.models.formats.tensorflow_checkpoint import (  # noqa: PLC0415 (as above)
        TensorflowCheckpoint,
        is_tensorflow,
    )

    if is_tensorflow(source):
        return TensorflowCheckpoint(source)
    if is_released_gpt1(source):
        return ReleasedGpt1(source)
    from components.models.formats.peft_folder import PeftFolder, is_adapter  # noqa: PLC0415 (it reads folders by this)

    return PeftFolder(source) if is_adapter(source) else SafetensorsFolder(source)


class SafetensorsFolder(Container):
    """`config.json` beside `model.safetensors`, or beside several such files and their index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = read_json(folder / "config.json")
        self._file_of = self._files()

    def names(self) -> Iterable[str]:
        return self._file_of

    def tensor(self, name: str) -> Float[Tensor, "..."]:
        with safe_open(self.folder / self._file_of[name], framework="pt") as file:
            return file.get_tensor(name)

    def _files(self) -> dict[str, str]:
        """Which file holds each tensor."""
        if (self.folder / INDEX).exists():
            files = read_json(self.folder / INDEX).get("weight_map")
            if not isinstance(files, dict) or not all(Path(str(name)).name == name for name in files.values()):
                raise FormatError(f"{self.folder / INDEX} has no `weight_map` of files beside it")
            if missing := sorted({name for name in files.values() if not (self.folder / name).exists()}):
                raise FormatError(f"{self.folder} lacks {', '.join(missing)}, which {INDEX} names")
            return files
        if not (self.folder / WHOLE).exists():
            raise FormatError(f"{self.folder} has no {WHOLE}{self._instead()}")
        try:
            with safe_open(self.folder / WHOLE, framework="pt") as file:
                return dict.fromkeys(file.keys(), WHOLE)
        except (OSError, SafetensorError) as error:
            raise FormatError(f"{self.folder / WHOLE} cannot be read: {error}") from error

    def _instead(self) -> str:
        pickled = sorted(path.name for pattern in PICKLED for path in self.folder.glob(pattern))
        if not pickled:
            return ""
        return f": {pickled[0]} is a pickle, which may run any code when it is opened; convert it to safetensors"


def read_json(path: Path) -> dict[str, Any]:
    """An object of a file.

    Raises:
        FormatError: there is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{path} holds a {type(found).__name__}, not an object")
    return found
