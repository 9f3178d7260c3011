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
    from pathlib import Path

    from components.evaluation.items import Item
    from components.evaluation.transformations import Name
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
        RecordError: items break their schema, are all of one class, or have a class in the validation rows alone.
        StageStopped: more blocks are asked for than the base has.
    """
    import torch

    from components.arithmetic import device_of
    from components.checkpoints import load_gpt, save_model
    from components.evaluation.transformations import encode_all, places
    from components.models.classifier import ClassifierGPT
    from components.training.classification import ClassificationModule, with_markers
    from components.training.fit import fit

    params, folder, name = work.section, work.read("items"), work.section.transformation
    torch.manual_seed(work.seed)
    items, classes = read_splits(folder, name, params.labels)
    right = {split: places(own, name, classes, path=folder / f"{split}.jsonl") for split, own in items.items()}
    body = transferred(load_gpt(work.read("base")), params.transferred)
    own = work.scratch / "tokenizer"
    tokenizer = with_markers(body, work.read("base"), own, seed=work.seed)
    ids = {split: encode_all(rows, name, tokenizer, body.config.context_length) for split, rows in items.items()}
    model = ClassifierGPT.on(body, classes, name)
    module = ClassificationModule(work, model.train(), ids["train"], right["train"])
    fit(work, module, checkpoint_interval=params.checkpoint_interval)
    module.to(device_of(work))  # Lightning leaves it on the CPU
    validation = module.accuracy(ids["validation"], right["validation"])
    work.metrics |= {"rows": len(items["train"]), "classes": list(classes), "validation": validation}
    save_model(work.path("model"), model, own / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


def read_splits(folder: "Path", name: "Name", labels: int) -> "tuple[dict[str, list[Item]], tuple[str, ...]]":
    """The rows to train on, the first `labels` of them or all, and those to validate on; and the classes.

    Raises:
        RecordError: items break their schema, or all are of one class.
    """
    from components.data.records import RecordError
    from components.evaluation.items import read_items
    from components.evaluation.transformations import TRANSFORMATIONS, classes_of

    own = TRANSFORMATIONS[name]
    items = {split: read_items(folder / f"{split}.jsonl", own.item) for split in ("train", "validation")}
    items["train"] = items["train"][: labels or None]
    classes = classes_of(items["train"], name)
    if len(classes) == 1:
        raise RecordError(f"{folder / 'train.jsonl'}: all {len(items['train'])} rows are of the class {classes[0]}")
    return items, classes


def transferred(base: "GPT", blocks: str | int) -> "GPT":
    """A model with so much of the base, and the rest new (GPT, figure 2: transferring some layers).

    Raises:
        StageStopped: the base has fewer blocks.
    """
    from components.models.transformer import GPT
    from components.runtime import StageStopped

    if blocks == "all":
        return base
    new = GPT(base.config)
    if blocks == "none":
        return new
    count = int(blocks)
    if count > len(base.blocks):
        raise StageStopped(f"finetune.transferred is {count}, and the model has {len(base.blocks)} blocks")
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
