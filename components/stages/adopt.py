"""Adopt: a model that somebody trained, with its tokenizer and chat format, in place of one that is pretrained here.

Reads safetensors or GGUF of any known family (components/models/families). Its output is what pretrain's is. Special
tokens that its chat format lacks are added as new rows.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from components.sections.base import Seed, section
from components.sections.compute import Compute
from components.sections.limits import Limits
from components.sections.seam import Seam
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


def _known(name: str) -> str:
    from components.data.templates.known import KNOWN

    if name != "auto" and name not in KNOWN:
        raise ValueError(f"unknown chat template {name!r}: use auto, or one of {', '.join(KNOWN)}")
    return name


@section
class Adopt:
    """The model to start from, and how conversations are written for it: as it says itself, with `auto`."""

    origin: Annotated[Any, Seam("components.models.origins")]
    template: Annotated[str, AfterValidator(_known)]


def run(work: "Work[Adopt]") -> None:
    """The whole stage.

    Raises:
        FormatError: the model cannot be brought, or is not one that is understood here.
        ValueError: its context is shorter than the pipeline's.
    """
    from components.arithmetic import precision_of
    from components.checkpoints import save_model
    from components.data.chat import ChatTokenizer
    from components.models.formats.checkpoint import add_markers, choose_format, digest_of, load_checkpoint
    from components.models.transformer import count_parameters

    origin = work.section.origin
    source = origin.bring(work.state)
    model, found = load_checkpoint(source)
    if model.config.context_length < work.limits.context_length:
        raise ValueError(
            f"limits.context_length is {work.limits.context_length}, and {origin.describe()} computes no more than "
            f"{model.config.context_length} tokens"
        )
    name, format = choose_format(found, work.section.template)
    added = add_markers(model, found.tokenizer, format, seed=work.seed)
    tokenizer = ChatTokenizer(found.tokenizer, format)
    files = work.state / "tokenizer"
    files.mkdir(exist_ok=True)
    found.tokenizer.save(str(files / "tokenizer.json"))
    format.save(files)
    facts = {"origin": origin.describe(), "origin_sha256": digest_of(source), "family": model.config.family}
    for key, value in (facts | {"chat_template": name}).items():
        work.tracker.note(key, value)
    work.metrics |= {**facts, "parameters": count_parameters(model), "vocabulary": tokenizer.vocab_size}
    work.metrics |= {"added_tokens": len(added)}
    save_model(work.path("model"), model, files / "tokenizer.json", precision=precision_of(work), untrained=added)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Adopt,
    run,
    reads={},
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={
        "seed": Seed,
        "compute.accelerator": Compute,
        "compute.precision": Compute,
        "limits.context_length": Limits,
    },
)
