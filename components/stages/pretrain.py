"""Pretrain: a decoder-only transformer that predicts the next token of plain text (GPT, section 3.1).

Reads the token files of prepare, writes a model folder and registers it. Quality is measured in bits per byte, which
does not depend on the tokenizer. Fed a model `base` it goes on with that one (`model: {kind: fed}`).
"""

from dataclasses import field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from components.models.families.family import MODEL
from components.sections.base import BatchSize, Count, NaturalNumber, Positive, Seed, section
from components.sections.compute import Compute
from components.sections.limits import Limits
from components.sections.optimizer import Steps
from components.stage import Curve, Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Pretrain(Steps):
    """Next-token training on plain text; a batch is `batch_size` windows of the context length.

    Batches may grow to it from `first_batch_size`, linearly over the first `ramp_windows` windows. `mixture` weighs
    corpora by name; without it they are one text.
    """

    batch_size: BatchSize
    first_batch_size: Annotated[int, Field(ge=0, le=2**17)] = 0  # 0: batches do not grow
    ramp_windows: NaturalNumber = 0
    mixture: dict[str, Positive] = field(default_factory=dict)
    validation_interval: Count
    validation_batches: Count

    @model_validator(mode="after")
    def _batches_grow_or_not(self) -> "Pretrain":
        if bool(self.first_batch_size) != bool(self.ramp_windows):
            raise ValueError("first_batch_size and ramp_windows are both positive, where batches grow, or both 0")
        if self.first_batch_size > self.batch_size:
            raise ValueError(f"first_batch_size: {self.first_batch_size} is more than batch_size {self.batch_size}")
        return self


def run(work: "Work[Pretrain]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import save_model, untrained_tokens
    from components.data.chat import ChatTokenizer
    from components.models.transformer import GPT, count_parameters
    from components.training.fit import fit
    from components.training.pretraining import PretrainModule

    if 0 < work.section.first_batch_size < work.compute.devices:
        raise ValueError("pretrain.first_batch_size is less than compute.devices: some would have no window to read")
    params, base = work.section, next(iter(work.read_all("base").values()), None)
    file = work.read("tokenizer") if base is None else base / "tokenizer.json"
    if file.read_bytes() != work.read("tokenizer").read_bytes():
        raise ValueError(f"{base} has another tokenizer than the tokens: feed it to the node that prepares them, too")
    tokenizer, context = ChatTokenizer.load(file), work.limits.context_length
    torch.manual_seed(work.seed)
    module = PretrainModule(
        work, work.model.network(base, vocab_size=tokenizer.vocab_size, context_length=context).train()
    )
    fit(work, module, checkpoint_interval=params.checkpoint_interval, validate_every=params.validation_interval)
    model: GPT = module.network  # type: ignore[assignment]
    final = module.validate()
    work.metrics |= {
        "parameters": count_parameters(model),
        "train_tokens": module.order.tokens(params.max_steps),
        "validation": {"bits_per_byte": final["validation/bits_per_byte"]},
    }
    if params.mixture:
        work.metrics["epochs"] = module.order.epochs(params.max_steps)
    never_seen = untrained_tokens(base) if base else sorted(tokenizer.markers.keys() - {tokenizer.format.endoftext})
    save_model(work.path("model"), model, file, precision=module.precision, untrained=never_seen)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Pretrain,
    run,
    reads={"tokenizer": Kind.TOKENIZER, "tokens": Kind.TOKENS, "base": Several(Kind.LANGUAGE_MODEL)},
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={"seed": Seed, "model": MODEL, "compute": Compute, "limits.context_length": Limits},
    curves={"history.csv": Curve("step", "train/loss")},
)
