"""Pretrain: a decoder-only transformer that predicts the next token of plain text (GPT, section 3.1).

Reads the token files of prepare, writes `artifacts/pretrain/model/` and registers it as `gpt-pretrain`. Quality is
measured in bits per byte, which does not depend on the tokenizer.
"""

import torch
from torch import Tensor

from components.checkpoints import save_model
from components.data.chat import ChatTokenizer
from components.data.order import epoch_windows
from components.data.tokens import TokenFile
from components.evaluation.perplexity import token_file_bits_per_byte
from components.losses.language_modelling import next_token_loss
from components.models.precision import autocast
from components.models.sizes import config_for
from components.models.transformer import GPT, count_parameters
from components.runtime import Work
from components.stage import Curve, Kind, Stage
from components.training.fit import SupervisedModule, compiled, fit

STAGE = Stage(
    reads={"tokenizer": Kind.TOKENIZER, "tokens": Kind.TOKENS},
    makes={"model": Kind.LANGUAGE_MODEL},
    params=("seed", "model", "compute", "pretrain"),
    curves={"history.csv": Curve("step", "train/loss")},
)


class PretrainModule(SupervisedModule):
    """Next-token prediction on windows of the token files."""

    def __init__(self, stage: Work, model: GPT) -> None:
        params = stage.params.pretrain
        super().__init__(stage, model, params.optimizer, total_steps=params.max_steps)
        context = model.config.context_length
        self.train_tokens = TokenFile(stage.read("tokens") / "train.bin", context_length=context)
        self.validation_tokens = TokenFile(stage.read("tokens") / "validation.bin", context_length=context)
        self.hidden = compiled(model.__call__, stage.params.compute)
        self.note = ""

    def loss(self, windows: Tensor, count: Tensor | None = None) -> Tensor:
        """Mean loss in nats over windows, [B, T + 1]; `count` targets are in the whole batch."""
        model: GPT = self.network  # type: ignore[assignment]
        with autocast(self.precision, windows.device):
            return next_token_loss(self.hidden(windows[:, :-1]), model.head, windows[:, 1:], count=count)

    def rows(self, step: int) -> list[int]:
        params = self.stage.params
        return epoch_windows(
            step,
            batch_size=params.pretrain.batch_size,
            num_tokens=self.train_tokens.meta.tokens,
            context_length=self.train_tokens.context_length,
            seed=params.seed,
        )

    def make_batch(self, step: int) -> Tensor:
        return self.train_tokens.windows(self.share(self.rows(step)))

    def train_on(self, batch: Tensor, step: int) -> dict[str, float]:
        count = self.total(torch.tensor(batch[:, 1:].numel(), device=batch.device))
        loss = self.loss(batch, count)
        norm = self.minimise(loss)
        mean = self.total(loss.detach()).item()
        self.note = f"loss {mean:.3f}"
        return {"train/loss": mean, "train/gradient_norm": norm}

    def validate(self) -> dict[str, float]:
        """Bits per byte of the first windows of the validation split."""
        params = self.stage.params.pretrain
        bits = token_file_bits_per_byte(
            self.loss,
            self.validation_tokens,
            batch_size=params.batch_size,
            max_batches=params.validation_batches,
            device=self.device,
        )
        return {"validation/bits_per_byte": bits}


def pretrain(stage: Work) -> None:
    """The whole stage."""
    params = stage.params
    torch.manual_seed(params.seed)
    tokenizer = ChatTokenizer.load(stage.read("tokenizer"))
    config = config_for(params.model.shape, vocab_size=tokenizer.vocab_size, context_length=params.model.context_length)
    module = PretrainModule(stage, GPT(config))
    fit(
        stage,
        module,
        checkpoint_interval=params.pretrain.checkpoint_interval,
        validate_every=params.pretrain.validation_interval,
    )
    model: GPT = module.network  # type: ignore[assignment]
    final = module.validate()
    stage.metrics |= {
        "parameters": count_parameters(model),
        "train_tokens": params.pretrain.max_steps * params.pretrain.batch_size * config.context_length,
        "validation": {"bits_per_byte": final["validation/bits_per_byte"]},
    }
    save_model(stage.path("model"), model, stage.read("tokenizer"), precision=module.precision)
    stage.tracker.register_model(stage.path("model"))
