"""Checkpoints of unfinished training: complete, atomic, checksummed, and without pickle.

A checkpoint is a folder `step-<n>/` with every tensor in `tensors.safetensors` and the rest of the state tree in
`state.json`, which also holds the checksum of the tensors. The newest two are kept.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors.torch import load_file, save_file

logger = logging.getLogger(__name__)
KEPT = 2


class DamagedCheckpoint(ValueError):
    """A checkpoint is truncated or altered; the message names it."""


class SafetensorsCheckpointIO(CheckpointIO):
    """How Lightning writes and reads checkpoints in this project."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the folder beside its place, flush it to disk, move it there, and drop the oldest ones."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tensors: dict[str, torch.Tensor] = {}
        tree = _encode(checkpoint, tensors, {})
        save_file(tensors, partial / "tensors.safetensors")
        checksum = _sha256(partial / "tensors.safetensors")
        (partial / "state.json").write_text(
            json.dumps({"sha256": checksum, "tree_sha256": _tree_sha256(tree), "tree": tree})
        )
        for file in partial.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        for old in checkpoints(path.parent)[:-KEPT]:
            shutil.rmtree(old)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint back.

        Raises:
            DamagedCheckpoint: its tensors are not those that were written.
        """
        path = Path(path)
        try:
            saved = json.loads((path / "state.json").read_text())
            if _sha256(path / "tensors.safetensors") != saved["sha256"]:
                raise DamagedCheckpoint(f"{path}: tensors.safetensors does not match its checksum")
            if _tree_sha256(saved["tree"]) != saved["tree_sha256"]:
                raise DamagedCheckpoint(f"{path}: state.json does not match its checksum")
            tree = _decode(saved["tree"], load_file(path / "tensors.safetensors"))
        except DamagedCheckpoint:
            raise
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DamagedCheckpoint(f"{path} is incomplete: {error}") from error
        return dict(tree)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        shutil.rmtree(path, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a stage's state folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".partial")


def newest_intact(folder: Path) -> Path | None:
    """The newest checkpoint that reads back whole; a damaged one is named, removed and passed over."""
    for path in reversed(checkpoints(folder)):
        try:
            SafetensorsCheckpointIO().load_checkpoint(path)
        except DamagedCheckpoint as error:
            logger.warning("%s; using the one before", error)
            shutil.rmtree(path, ignore_errors=True)
        else:
            return path
    return None


def _encode(node: Any, tensors: dict[str, torch.Tensor], names: dict[Any, str]) -> Any:
    """JSON form of a state tree; dicts as pairs, since optimizer states have integers as keys.

    A tensor that several networks share, as adapted ones do their trunk, is written once: `names` knows it.
    """
    if isinstance(node, torch.Tensor):
        place = (node.data_ptr(), node.shape, node.stride(), node.dtype) if node.numel() else id(node)
        if place not in names:
            names[place] = str(len(tensors))
            tensors[names[place]] = node.detach().cpu().contiguous().clone()
        return {"tensor": names[place]}
    if isinstance(node, dict):
        return {"dict": [[_encode(k, tensors, names), _encode(v, tensors, names)] for k, v in node.items()]}
    if isinstance(node, tuple):
        return {"tuple": [_encode(item, tensors, names) for item in node]}
    if isinstance(node, list):
        return [_encode(item, tensors, names) for item in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"a checkpoint cannot hold a {type(node).__name__}")


def _decode(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "tuple" in node:
        return tuple(_decode(item, tensors) for item in node["tuple"])
    return {_decode(key, tensors): _decode(value, tensors) for key, value in node["dict"]}


def _tree_sha256(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
