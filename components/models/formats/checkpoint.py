"""A model to start from, whole: network, tokenizer and chat format, wherever they are stored."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from components.checkpoints import is_own, load_gpt
from components.data.chat_format import ChatFormat, load_format
from components.data.templates.known import KNOWN, recognise
from components.models.families.keys import FormatError
from components.models.formats.gguf_file import GgufFile
from components.models.formats.gguf_tokenizer import gguf_tokenizer
from components.models.formats.peft_folder import base_of, is_adapter
from components.models.formats.released_gpt1 import gpt1_tokenizer, is_released_gpt1
from components.models.formats.stored import read_json
from components.models.formats.tensorflow_checkpoint import ENDOFTEXT, gpt2_tokenizer, is_tensorflow
from components.models.formats.transformers_format import import_model
from components.models.transformer import GPT
from components.models.vocabulary import grow

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")  # of documents
DIGESTED = ("*.safetensors", "*.json", "*.npy", "*.bpe", "*.index", "*.data-*")  # the last four of released GPTs
PADS = ("<|finetune_right_pad_id|>", "<pad>", "[PAD]")
NOISE = 0.1  # of the spread of the embeddings


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says about itself besides its weights.

    template: its own Jinja chat template; None where it has none. bos, eos: the tokens that the template calls so.
    format: its `chat.json`, where this project wrote it.
    """

    tokenizer: Tokenizer
    template: str | None = None
    bos: str = ""
    eos: str = ""
    format: ChatFormat | None = None


def load_checkpoint(source: Path) -> tuple[GPT, Checkpoint]:
    """A model and what goes with it.

    Raises:
        FormatError: something is missing, or is not understood.
    """
    if source.suffix == ".gguf":
        file = GgufFile(source)
        tokenizer = gguf_tokenizer(file)
        bos, eos = (_token(tokenizer, file.value(f"tokenizer.ggml.{name}_token_id")) for name in ("bos", "eos"))
        return import_model(source), Checkpoint(tokenizer, file.value("tokenizer.chat_template"), bos, eos)
    if is_released_gpt1(source):
        return import_model(source), Checkpoint(gpt1_tokenizer(source))
    if is_tensorflow(source):
        return import_model(source), Checkpoint(gpt2_tokenizer(source), bos=ENDOFTEXT, eos=ENDOFTEXT)
    # Adapters that came without a tokenizer have their base's.
    folder = base_of(source) if is_adapter(source) and not (source / "tokenizer.json").exists() else source
    if not (folder / "tokenizer.json").exists():
        raise FormatError(f"{folder} has no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if is_own(source):
        return load_gpt(source), Checkpoint(tokenizer, format=load_format(source) or KNOWN["lineage"])
    settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    jinja = folder / "chat_template.jinja"
    template = jinja.read_text(encoding="utf-8") if jinja.exists() else settings.get("chat_template")
    bos, eos = (_content(settings.get(f"{name}_token")) for name in ("bos", "eos"))
    return import_model(source), Checkpoint(tokenizer, template if isinstance(template, str) else None, bos, eos)


def _token(tokenizer: Tokenizer, number: int | None) -> str:
    return "" if number is None else str(tokenizer.id_to_token(int(number)) or "")


def _content(token: object) -> str:
    """A special token as tokenizer_config.json has it: a text, or an object with its text."""
    return str(token.get("content", "") if isinstance(token, dict) else token or "")


def choose_format(found: Checkpoint, wanted: str) -> tuple[str, ChatFormat]:
    """The chat format of a name, or with `auto` the checkpoint's own, with the tokens that the tokenizer has for it.

    A checkpoint without a template, which knows no chat, gets the lineage's.

    Raises:
        FormatError: its own template is none that is known.
    """
    if wanted != "auto":
        return wanted, _fitted(KNOWN[wanted], found.tokenizer)
    if found.format is not None:
        return "its own", found.format
    if found.template is None:
        return "lineage", _fitted(KNOWN["lineage"], found.tokenizer)
    recognised = recognise(found.template, bos=found.bos, eos=found.eos)
    if recognised is None:
        raise FormatError(
            f"its chat template is none of those known here: name one in adopt.template ({', '.join(KNOWN)}), or add "
            "it (docs/extending.md)"
        )
    return recognised[0], _fitted(recognised[1], found.tokenizer)


def _fitted(format: ChatFormat, tokenizer: Tokenizer) -> ChatFormat:
    """A format that pads, and ends documents, with tokens that are there, as far as any serve."""
    there = [token for token in (format.endoftext, *ENDS) if tokenizer.token_to_id(token) is not None]
    endoftext = next(iter(there), format.endoftext)
    pads = [token for token in (format.pad, *PADS, *there) if tokenizer.token_to_id(token) is not None]
    return replace(format, endoftext=endoftext, pad=next((pad for pad in pads if pad != format.end), format.pad))


def add_markers(model: GPT, tokenizer: Tokenizer, format: ChatFormat, *, seed: int) -> tuple[str, ...]:
    """Give a model and its tokenizer the special tokens of a format that they lack; their names.

    A new row is the mean of the embeddings with a little noise, so that it is like no token and no outlier.
    """
    for token in format.special_tokens:
        if tokenizer.token_to_id(token) is not None:
            tokenizer.add_special_tokens([token])  # one that was text so far becomes special
    missing = tuple(token for token in format.special_tokens if tokenizer.token_to_id(token) is None)
    tokenizer.add_special_tokens(list(missing))
    ids = [int(tokenizer.token_to_id(token) or 0) for token in missing]
    if ids:
        draws = torch.Generator().manual_seed(seed)
        grow(model, ids, lambda table: _like_all(table, len(ids), draws))
    return missing


def _like_all(table: Float[Tensor, "V D"], count: int, draws: torch.Generator) -> Float[Tensor, "N D"]:
    noise = torch.randn(count, table.shape[1], generator=draws)
    return table.mean(dim=0) + NOISE * table.std(dim=0) * noise


def digest_of(source: Path) -> str:
    """SHA-256 of a file, or of a folder's weights, configuration and tokenizer; of adapters and their base."""
    found = hashlib.sha256()
    if source.is_dir() and is_adapter(source):
        found.update(digest_of(base_of(source)).encode())
    names = [source] if source.is_file() else sorted(path for kind in DIGESTED for path in source.glob(kind))
    for path in names:
        with path.open("rb") as file:
            found.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()
