"""Finetune: a language model learns to tell classes of texts, or to choose (GPT, Radford et al. 2018, section 3.2).

Texts become sequences by one of four transformations, and a linear map from the state at their last token gives the
scores. The loss is L3 = L2 + lambda L1: of the classes and, as much as asked for, of the texts themselves.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.sections.base import BatchSize, Count, NaturalNumber, NonNegative, Seed, section
from components.sections.compute import Compute
from components.sections.optimizer import Optimizer
from components.stage import Curve, Kind, Stage

if TYPE_CHECKING:
    from components.models.transformer import GPT
    from components.work import Work


@section
class Finetune:
    """Fine-tuning on labelled texts; a batch is `batch_size` of them."""

    seed_offset: NaturalNumber
    transformation: Literal["classification", "entailment", "similarity", "multiple_choice"]
    labels: NaturalNumber  # the first of the training rows; 0: all
    # How much the model has of the one it starts from: all, the embeddings and so many blocks, or nothing.
    transferred: Literal["all", "none"] | Annotated[int, Field(ge=0)]
    auxiliary: NonNegative  # lambda
    epochs: Count
    batch_size: BatchSize
    checkpoint_interval: Count
    optimizer: Optimizer


def run(work: "Work[Finetune]") -> None:
    """The whole stage.

    Raises:
        RecordError: items break their schema, or a class is found in the validation rows alone.
        ValueError: more blocks are asked for than the base has.
    """
    import torch

    from components.checkpoints import load_gpt, save_model
    from components.evaluation.items import read_items
    from components.evaluation.transformations import TRANSFORMATIONS, classes_of, encode_all, places
    from components.models.classifier import ClassifierGPT
    from components.training.classification import ClassificationModule, with_markers
    from components.training.fit import fit

    params, folder, name = work.section, work.read("items"), work.section.transformation
    torch.manual_seed(work.seed)
    kind = TRANSFORMATIONS[name].item
    train = read_items(folder / "train.jsonl", kind)[: params.labels or None]
    validation = read_items(folder / "validation.jsonl", kind)
    body = transferred(load_gpt(work.read("base")), params.transferred)
    own = work.scratch / "tokenizer"
    tokenizer = with_markers(body, work.read("base"), own, seed=work.seed)
    context, classes = body.config.context_length, classes_of(train, name)
    model = ClassifierGPT.on(body, classes)
    module = ClassificationModule(
        work,
        model.train(),
        encode_all(train, name, tokenizer, context),
        places(train, name, classes, path=folder / "train.jsonl"),
    )
    fit(work, module, checkpoint_interval=params.checkpoint_interval)
    held_out = encode_all(validation, name, tokenizer, context)
    right = places(validation, name, classes, path=folder / "validation.jsonl")
    work.metrics |= {"rows": len(train), "classes": list(classes), "validation": module.accuracy(held_out, right)}
    save_model(work.path("model"), model, own / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


def transferred(base: "GPT", blocks: str | int) -> "GPT":
    """A model with so much of the base, and the rest new (GPT, figure 2: transferring some layers).

    Raises:
        ValueError: the base has fewer blocks.
    """
    from components.models.transformer import GPT

    if blocks == "all":
        return base
    new = GPT(base.config)
    if blocks == "none":
        return new
    count = int(blocks)
    if count > len(base.blocks):
        raise ValueError(f"finetune.transferred is {count}, and the model has {len(base.blocks)} blocks")
    blocks_kept = (f"blocks.{number}." for number in range(count))
    kept = ("token_embedding.", "position_embedding.", "embedding_norm.", "output.", *blocks_kept)
    found = {name: weight for name, weight in base.state_dict().items() if name.startswith(kept)}
    new.load_state_dict(found, strict=False)
    return new


STAGE = Stage(
    Finetune,
    run,
    reads={"base": Kind.LANGUAGE_MODEL, "items": Kind.ITEMS},
    makes={"model": Kind.CLASSIFIER},
    shared={"seed": Seed, "compute": Compute},
    curves={"history.csv": Curve("step", "train/loss")},
)
