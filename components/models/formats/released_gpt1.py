"""The folder of openai/finetune-transformer-lm: GPT's weights as arrays of numpy, and its vocabulary of 40,000 merges.

`params_0.npy` to `params_9.npy` are one long array, cut into tensors by `params_shapes.json`: positions, tokens, and of
each block the variables in the order in which train.py makes them.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from components.models.families.keys import FormatError
from components.models.formats.stored import Container, read_json

SHAPES, ENCODER, MERGES = "params_shapes.json", "encoder_bpe_40000.json", "vocab_40000.bpe"
UNKNOWN, WORD_END = "<unk>", "</w>"
HEAD_WIDTH = 64  # what the files do not say
OF_A_BLOCK = tuple(
    f"{name}.{part}"
    for name in ("attn.c_attn", "attn.c_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2")
    for part in ("weight", "bias")
)


def is_released_gpt1(folder: Path) -> bool:
    """Whether a folder is one that was released with GPT."""
    return (folder / SHAPES).exists() and (folder / ENCODER).exists()


def gpt1_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer: lower case, accents stripped, words and signs apart, and byte pairs within words.

    The released code mends encodings and splits words by `ftfy` and `spacy`, which are not needed here; `transformers`
    does without them, too.

    Raises:
        FormatError: the files are missing or broken.
    """
    try:
        # The first line names a version, and a blank one is the last.
        lines = (folder / MERGES).read_text(encoding="utf-8").split("\n")[1:-1]
        merges = [(first, second) for first, second in (line.split() for line in lines)]
        model = models.BPE(read_json(folder / ENCODER), merges, unk_token=UNKNOWN, end_of_word_suffix=WORD_END)
    except Exception as error:  # tokenizers raises nothing narrower
        raise FormatError(f"{folder}: {ENCODER} and {MERGES} are no tokenizer: {error}") from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix=WORD_END)
    return tokenizer


class ReleasedGpt1(Container):
    """GPT as it was released, under the names of `transformers`."""

    def __init__(self, folder: Path) -> None:
        """Raises: FormatError: a file is missing or broken, or the shapes are not those of a GPT."""
        try:
            shapes = [tuple(map(int, shape)) for shape in json.loads((folder / SHAPES).read_text())]
        except (OSError, ValueError, TypeError) as error:
            raise FormatError(f"{folder / SHAPES} has no shapes: {error}") from error
        self.parts = sorted(folder.glob("params_*.npy"), key=lambda path: int(re.sub(r"\D", "", path.stem) or -1))
        blocks, rest = divmod(len(shapes) - 2, len(OF_A_BLOCK))
        if rest or blocks < 1 or any(len(shape) != 2 for shape in shapes[:2]):
            raise FormatError(f"{folder / SHAPES} has {len(shapes)} shapes, where a GPT has 2 and 12 a block")
        (positions, width), (vocabulary, _) = shapes[:2]
        self.config = {
            "model_type": "openai-gpt", "afn": "gelu", "vocab_size": vocabulary, "n_positions": positions,
            "n_embd": width, "n_layer": blocks, "n_head": max(1, width // HEAD_WIDTH),
        }  # fmt: skip
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        places = zip(ends - [math.prod(shape) for shape in shapes], shapes, strict=True)
        self.places = dict(zip(_names(blocks), places, strict=True))
        self.numbers = self._read(folder, int(ends[-1]))

    def _read(self, folder: Path, count: int) -> np.ndarray:
        try:
            parts = [np.load(path, mmap_mode="r", allow_pickle=False) for path in self.parts]
            numbers = np.concatenate([part.reshape(-1) for part in parts])
        except (OSError, ValueError) as error:
            raise FormatError(f"{folder}: params_*.npy cannot be read: {error}") from error
        if len(numbers) != count:
            raise FormatError(f"{folder}: params_*.npy have {len(numbers)} numbers, and {SHAPES} tells of {count}")
        return numbers

    def names(self) -> Iterable[str]:
        return self.places

    def tensor(self, name: str) -> Float[Tensor, "..."]:
        start, shape = self.places[name]
        own = self.numbers[start : start + math.prod(shape)]
        # A map is kept as a convolution over one place.
        return torch.from_numpy(own.reshape(shape[1:] if len(shape) == 3 else shape).copy())


def _names(blocks: int) -> Iterator[str]:
    yield "transformer.positions_embed.weight"
    yield "transformer.tokens_embed.weight"
    yield from (f"transformer.h.{block}.{name}" for block in range(blocks) for name in OF_A_BLOCK)
