"""Model folders to and from the `transformers` format.

python -m components.convert export artifacts/ppo/model exported/     # for transformers, and what reads its format
python -m components.convert export artifacts/reward/model exported/  # a reward model, as sequence classification
python -m components.convert export artifacts/ppo/model ppo.gguf      # a Llama in fp16, for llama.cpp
python -m components.convert export artifacts/align/ppo/model out/ --adapter-of base/   # what was added, for peft
python -m components.convert import gpt2/ imported/                   # a folder of any known family, or a GGUF file
python -m components.convert import adapter/ imported/                # LoRA adapters of peft, merged into their base
"""

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from components.checkpoints import (
    CheckpointError,
    is_own,
    load_gpt,
    load_scalar,
    load_tokenizer,
    model_kind,
    save_model,
)
from components.model_card import card
from components.models.families.keys import FormatError
from components.models.formats.checkpoint import choose_format, load_checkpoint
from components.models.formats.gguf_export import export_gguf
from components.models.formats.peft_export import export_adapter
from components.models.formats.peft_folder import CONFIG, TENSORS
from components.models.formats.transformers_format import export_model, export_scalar, import_model

ABOUT = {"tokenizer.json", "tokenizer_config.json", "README.md"}
MODEL_FILES = ABOUT | {"config.json", "chat.json", "model.safetensors", "generation_config.json"}
ADAPTER_FILES = ABOUT | {CONFIG, TENSORS}


def export_folder(source: Path, target: Path, base: Path | None = None) -> None:
    """Write a model folder of this project in the `transformers` format: tokenizer, chat template and a card included.

    base: a folder in that format; what is written then is adapters of `peft` that make the model of it.

    Raises:
        CheckpointError: the source is no model folder.
        FormatError: the target holds something else, `transformers` has no such class, or no adapters can say it.
    """
    scores = model_kind(source) == "scalar_gpt"
    tokenizer = load_tokenizer(source)
    if target.suffix == ".gguf":
        export_gguf(load_gpt(source), tokenizer, target, name=source.parent.name)
        return
    _check_target(target, ADAPTER_FILES if base else MODEL_FILES)
    if base is not None:
        if is_own(base):
            raise FormatError(f"{base} is in this project's format, which peft cannot read: export it first")
        export_adapter(load_gpt(source), import_model(base), target, base_name=str(base))
    elif scores:
        export_scalar(load_scalar(source), target, end_id=tokenizer.end, pad_id=tokenizer.pad)
    else:
        export_model(load_gpt(source), target, end_id=tokenizer.end, pad_id=tokenizer.pad)
    (target / "README.md").write_text(card(source, tokenizer.format, scores=scores), encoding="utf-8")
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.format.endoftext,
        "eos_token": tokenizer.format.end,
        "pad_token": tokenizer.format.pad,
        "chat_template": tokenizer.format.jinja(),
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def import_folder(source: Path, target: Path) -> None:
    """Write a model of the `transformers` format, adapters of `peft` over one, or a GGUF file as a model folder.

    Its tokenizer comes along, and its chat format where it is a known one and all its tokens are there; the stage
    `adopt` gives a model what it lacks.

    Raises:
        FormatError: the source is no model of a known family, or the target holds something else, which would be lost.
    """
    if not source.exists():
        raise FormatError(f"{source} is not a folder")
    _check_target(target)
    model, found = load_checkpoint(source)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        found.tokenizer.save(str(files / "tokenizer.json"))
        with contextlib.suppress(FormatError):
            _, format = choose_format(found, "auto")
            if all(found.tokenizer.token_to_id(token) is not None for token in format.special_tokens):
                format.save(files)
        save_model(target, model, files / "tokenizer.json")


def _check_target(target: Path, own: set[str] = MODEL_FILES) -> None:
    """A model is written over another one and into an empty place, never over anything else."""
    if target.exists() and not target.is_dir():
        raise FormatError(f"{target} is a file")
    strange = sorted(path.name for path in target.glob("*") if path.name not in own)
    if strange:
        raise FormatError(
            f"{target} holds {', '.join(strange[:3])}, which is no part of what is written: name another folder"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=("export", "import"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--adapter-of", type=Path, metavar="BASE", help="export: a transformers folder to add to")
    arguments = parser.parse_args()
    if arguments.adapter_of and arguments.direction == "import":
        parser.error("--adapter-of is for export")
    try:
        if arguments.direction == "export":
            export_folder(arguments.source, arguments.target, arguments.adapter_of)
        else:
            import_folder(arguments.source, arguments.target)
    except (FormatError, CheckpointError, OSError) as error:
        sys.exit(str(error))
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    main()
