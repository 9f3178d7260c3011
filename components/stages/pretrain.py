"""Pretrain: a decoder-only transformer that predicts the next token of plain text (GPT, section 3.1).

Reads the token files of prepare, writes a model folder and registers it. Quality is measured in bits per byte, which
does not depend on the tokenizer.
"""

from typing import TYPE_CHECKING

from components.models.section import Model
from components.sections.base import BatchSize, Count, Seed, section
from components.sections.compute import Compute
from components.sections.limits import Limits
from components.sections.optimizer import Steps
from components.stage import Curve, Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Pretrain(Steps):
    """Next-token training on plain text; a batch is `batch_size` windows of the context length."""

    batch_size: BatchSize
    validation_interval: Count
    validation_batches: Count


def run(work: "Work[Pretrain]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import save_model
    from components.data.chat import ChatTokenizer
    from components.models.sizes import config_for
    from components.models.transformer import GPT, count_parameters
    from components.training.fit import fit
    from components.training.pretraining import PretrainModule

    params, tokenizer = work.section, ChatTokenizer.load(work.read("tokenizer"))
    torch.manual_seed(work.seed)
    config = config_for(work.model.shape, vocab_size=tokenizer.vocab_size, context_length=work.limits.context_length)
    module = PretrainModule(work, GPT(config))
    fit(work, module, checkpoint_interval=params.checkpoint_interval, validate_every=params.validation_interval)
    model: GPT = module.network  # type: ignore[assignment]
    final = module.validate()
    work.metrics |= {
        "parameters": count_parameters(model),
        "train_tokens": params.max_steps * params.batch_size * config.context_length,
        "validation": {"bits_per_byte": final["validation/bits_per_byte"]},
    }
    save_model(work.path("model"), model, work.read("tokenizer"), precision=module.precision)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Pretrain,
    run,
    reads={"tokenizer": Kind.TOKENIZER, "tokens": Kind.TOKENS},
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={"seed": Seed, "model": Model, "compute": Compute, "limits.context_length": Limits},
    curves={"history.csv": Curve("step", "train/loss")},
)
