"""Model folders to and from the `transformers` format.

python -m components.convert export artifacts/ppo/model exported/     # for transformers, and what reads its format
python -m components.convert import gpt2/ imported/                   # config.json and model.safetensors of a GPT-2
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from components.checkpoints import CheckpointError, load_gpt, load_tokenizer, model_kind, save_model
from components.data.chat import END, ENDOFTEXT, PAD
from components.models.gpt2_format import FormatError, export_gpt2, import_gpt2

MODEL_FILES = {
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
}  # fmt: skip
# The template of components/data/chat.py in the form that `apply_chat_template` reads.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def export_folder(source: Path, target: Path) -> None:
    """Write a model folder of this project in the `transformers` format, tokenizer and chat template included.

    Raises:
        CheckpointError: the source is no folder of a language model.
        FormatError: the target holds something else.
    """
    model_kind(source)  # names what is no model folder before anything else is missed
    model, tokenizer = load_gpt(source), load_tokenizer(source)
    _check_target(target)
    export_gpt2(model, target, end_id=tokenizer.end, pad_id=tokenizer.pad)
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": ENDOFTEXT,
        "eos_token": END,
        "pad_token": PAD,
        "chat_template": CHAT_TEMPLATE,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def import_folder(source: Path, target: Path) -> None:
    """Write a GPT-2 of the `transformers` format as a model folder of this project; its tokenizer.json comes along.

    Raises:
        FormatError: the source is no GPT-2, or the target holds something else, which would be lost.
    """
    if not source.is_dir():
        raise FormatError(f"{source} is not a folder")
    if not (source / "tokenizer.json").exists():
        raise FormatError(f"{source} has no tokenizer.json")
    model = import_gpt2(source)
    _check_target(target)
    save_model(target, model, source / "tokenizer.json")


def _check_target(target: Path) -> None:
    """A model is written over another one and into an empty place, never over anything else."""
    if target.exists() and not target.is_dir():
        raise FormatError(f"{target} is a file")
    strange = sorted(path.name for path in target.glob("*") if path.name not in MODEL_FILES)
    if strange:
        raise FormatError(f"{target} holds {', '.join(strange[:3])}, which is no part of a model: name another folder")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=("export", "import"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        {"export": export_folder, "import": import_folder}[arguments.direction](arguments.source, arguments.target)
    except (FormatError, CheckpointError, OSError) as error:
        sys.exit(str(error))
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    main()
