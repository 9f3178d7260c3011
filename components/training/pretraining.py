"""Next-token training on the windows of token files (GPT, section 3.1)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.data.tokens import TokenFile
from components.data.windows import WindowOrder
from components.evaluation.perplexity import token_file_bits_per_byte
from components.losses.language_modelling import next_token_loss
from components.models.precision import autocast
from components.models.transformer import GPT
from components.training.fit import SupervisedModule, compiled
from components.work import Work

if TYPE_CHECKING:
    from components.stages.pretrain import Pretrain


class PretrainModule(SupervisedModule):
    """Next-token prediction on windows of the token files."""

    def __init__(self, stage: "Work[Pretrain]", model: GPT) -> None:
        params = stage.section
        super().__init__(stage, model, params.optimizer, total_steps=params.max_steps)
        context = stage.limits.context_length
        self.train_tokens = TokenFile(stage.read("tokens") / "train.json", context_length=context)
        self.order = WindowOrder(self.train_tokens.meta, params, context_length=context, seed=self.seed)
        self.validation_tokens = TokenFile(stage.read("tokens") / "validation.json", context_length=context)
        self.hidden = compiled(model.__call__, stage.compute)
        self.note = ""

    def loss(self, windows: Tensor, count: Tensor | None = None) -> Tensor:
        """Mean loss in nats over windows, [B, T + 1]; `count` targets are in the whole batch."""
        model: GPT = self.network  # type: ignore[assignment]
        cap = model.config.logit_cap
        with autocast(self.precision, windows.device):
            return next_token_loss(self.hidden(windows[:, :-1]), model.head, windows[:, 1:], count=count, cap=cap)

    def rows(self, step: int) -> list[int]:
        return self.order.starts(step)

    def make_batch(self, step: int) -> Tensor:
        return self.train_tokens.windows(self.share(self.rows(step)))

    def train_on(self, batch: Tensor, step: int) -> dict[str, float]:
        self.tokens = batch[:, 1:].numel()
        count = self.total(torch.tensor(self.tokens, device=batch.device))
        loss = self.loss(batch, count)
        norm = self.minimise(loss)
        mean = self.total(loss.detach()).item()
        self.note = f"loss {mean:.3f}"
        return {"train/loss": mean, "train/gradient_norm": norm}

    def validate(self) -> dict[str, float]:
        """Bits per byte of the first windows of the validation split."""
        params = self.stage.section
        bits = token_file_bits_per_byte(
            self.loss,
            self.validation_tokens,
            batch_size=params.batch_size,
            max_batches=params.validation_batches,
            device=self.device,
        )
        return {"validation/bits_per_byte": bits}
