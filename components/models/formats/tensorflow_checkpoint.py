"""The folder of openai/gpt-2: hparams.json, encoder.json, vocab.bpe, and a checkpoint, read without TensorFlow.

`model.ckpt.index` is a sorted table in LevelDB's form, whose values are messages of Protocol Buffers that say of each
tensor its type, shape and place (tensorflow/core/protobuf/tensor_bundle.proto). The numbers are in
`model.ckpt.data-00000-of-00001`, little-endian.
"""

import math
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from components.models.families.keys import FormatError
from components.models.formats.stored import Container, read_json

FOOTER, MAGIC = 48, 0xDB4775248B80FB57
KEYS = {"n_vocab": "vocab_size", "n_ctx": "n_positions", "n_embd": "n_embd", "n_head": "n_head", "n_layer": "n_layer"}
PARTS = {"g": "weight", "w": "weight", "b": "bias"}
TYPES = {1: "<f4", 2: "<f8", 19: "<f2"}  # DataType: float, double, half
ENDOFTEXT = "<|endoftext|>"


class Entry(NamedTuple):
    """Where a tensor lies."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    length: int = 0


def is_tensorflow(folder: Path) -> bool:
    """Whether a folder is one that openai/gpt-2 released."""
    return (folder / "hparams.json").exists() and (folder / "encoder.json").exists()


def gpt2_tokenizer(folder: Path) -> Tokenizer:
    """The byte-level tokenizer that lies beside the weights."""
    try:
        model = models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    except Exception as error:  # tokenizers raises nothing narrower
        raise FormatError(f"{folder}: encoder.json and vocab.bpe are no tokenizer: {error}") from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([ENDOFTEXT])
    return tokenizer


class TensorflowCheckpoint(Container):
    """GPT-2 as it was released, under the names of `transformers`."""

    def __init__(self, folder: Path) -> None:
        """Raises: FormatError: a file is missing or broken, or there is more than one checkpoint."""
        indices = sorted(folder.glob("*.index"))
        if len(indices) != 1:
            raise FormatError(f"{folder} has {len(indices)} files that end in .index, where a checkpoint has one")
        said = read_json(folder / "hparams.json")
        self.config = {"model_type": "gpt2"} | {theirs: said.get(ours) for ours, theirs in KEYS.items()}
        self.index = indices[0]
        try:
            entries = dict(_table(self.index.read_bytes()))
            self.shards = _numbers(entries.pop(b"", b"")).get(1, 1)
            found = {_named(key.decode()): _entry(value) for key, value in entries.items() if key.startswith(b"model/")}
        except (OSError, IndexError, KeyError, ValueError, struct.error) as error:
            raise FormatError(f"{self.index} is no table of tensors that can be read: {error}") from error
        self.entries = found

    def names(self) -> Iterable[str]:
        return self.entries

    def tensor(self, name: str) -> Float[Tensor, "..."]:
        entry = self.entries[name]
        path = self.index.with_suffix(f".data-{entry.shard:05}-of-{self.shards:05}")
        if entry.dtype not in TYPES:
            raise FormatError(f"{self.index}: {name} has the type {entry.dtype}, and float, half and double are read")
        kind = np.dtype(TYPES[entry.dtype])
        # A map is kept as a convolution over one place.
        shape = entry.shape[1:] if len(entry.shape) == 3 and entry.shape[0] == 1 else entry.shape
        count = math.prod(shape)
        try:
            there = path.stat().st_size
            if len(shape) not in (1, 2) or not 0 < count * kind.itemsize == entry.length <= there - entry.offset:
                raise FormatError(f"{path} ends before {name} does, or {self.index} gives it another length or shape")
            return torch.from_numpy(np.fromfile(path, kind, count, offset=entry.offset).reshape(shape))
        except OSError as error:
            raise FormatError(f"{path} cannot be read: {error}") from error


def _named(name: str) -> str:
    """`model/h0/attn/c_attn/w` is transformer.h.0.attn.c_attn.weight there."""
    parts = re.sub(r"^model/h(\d+)/", r"model/h/\1/", name).split("/")[1:]
    last = PARTS.get(parts[-1])
    return ".".join(["transformer", *(parts[:-1] if last else parts), last or "weight"])


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in their order. Its footer says where the index of its blocks is."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("it does not end as one does")
    at = len(data) - FOOTER
    for _ in range(2):  # of another block, which is not needed
        _, at = _varint(data, at)
    for _, handle in _block(data, *_handle(data, at)):
        yield from _block(data, *_handle(handle, 0))


def _handle(data: bytes, at: int) -> tuple[int, int]:
    offset, at = _varint(data, at)
    return offset, _varint(data, at)[0]


def _block(data: bytes, offset: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a block: each shares the beginning of its key with the one before."""
    block, key, at = data[offset : offset + length], b"", 0
    if len(block) < length or data[offset + length]:
        raise ValueError("a block is cut off or compressed")
    end = length - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        size, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size


def _entry(message: bytes) -> Entry:
    """A BundleEntryProto; its shape is a message of messages of a size each."""
    said = _numbers(message)
    (dims,) = [part for number, _, part in _fields(message) if number == 2] or [b""]
    shape = tuple(_numbers(part).get(1, 0) for number, _, part in _fields(dims) if number == 2)
    return Entry(said.get(1, 0), shape, said.get(3, 0), said.get(4, 0), said.get(5, 0))


def _numbers(message: bytes) -> dict[int, int]:
    """Those fields of a message that are numbers."""
    return {number: value for number, value, part in _fields(message) if not part}


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Numbers of a message's fields, with what each holds: a whole number, or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, form = tag >> 3, tag & 7
        size, at = _varint(message, at) if form in (0, 2) else ({1: 8, 5: 4}[form], at)
        if form == 0:
            yield number, size, b""
        else:
            yield number, 0, message[at : at + size]
            at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number whose bytes have 7 bits of it each, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")
