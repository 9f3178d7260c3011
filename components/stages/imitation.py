"""Training on given conversations: what sft and feedme share."""

import torch
from torch import Tensor

from components import schema, schema_rl
from components.data.demonstrations import DemonstrationRows
from components.data.order import epoch_rows
from components.losses.language_modelling import next_token_loss
from components.models.precision import autocast
from components.models.transformer import GPT
from components.stages.fit import SupervisedModule, compiled
from components.stages.runtime import Stage


class ImitationModule(SupervisedModule):
    """Next-token prediction on conversations, masked to what the assistant says."""

    def __init__(
        self,
        stage: Stage,
        model: GPT,
        params: schema.Sft | schema_rl.Feedme,
        *,
        train: DemonstrationRows,
        validation: DemonstrationRows,
    ) -> None:
        super().__init__(stage, model, params.optimizer, total_steps=params.max_steps)
        self.params = params
        self.train_rows, self.validation_rows = train, validation
        self.hidden = compiled(model.__call__, stage.params.compute)
        self.note = ""

    def loss(self, input_ids: Tensor, loss_mask: Tensor, count: Tensor | None = None) -> Tensor:
        """Mean loss in nats over the targets that count, ids and mask being [B, T + 1]; `count` in the whole batch."""
        model: GPT = self.network  # type: ignore[assignment]
        with autocast(self.precision, input_ids.device):
            hidden = self.hidden(input_ids[:, :-1])
            return next_token_loss(hidden, model.head, input_ids[:, 1:], loss_mask[:, 1:], count)

    def rows(self, step: int) -> list[int]:
        num_rows = len(self.train_rows.input_ids)
        return epoch_rows(step, batch_size=self.params.batch_size, num_rows=num_rows, seed=self.seed)

    def make_batch(self, step: int) -> list[Tensor]:
        rows = self.share(self.rows(step))
        return [self.train_rows.input_ids[rows], self.train_rows.loss_mask[rows]]

    def train_on(self, batch: list[Tensor], step: int) -> dict[str, float]:
        count = self.total(batch[1][:, 1:].sum())
        loss = self.loss(*batch, count)
        norm = self.minimise(loss)
        mean = self.total(loss.detach()).item()
        self.note = f"loss {mean:.3f}"
        real = self.total((batch[0][:, 1:] != self.train_rows.pad_id).sum())
        return {"train/loss": mean, "train/gradient_norm": norm, "train/trained_fraction": (count / real).item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss on the first validation rows, weighted by the tokens that count."""
        params, data = self.params, self.validation_rows
        total, count = 0.0, 0
        size = min(params.batch_size, len(data.input_ids))
        for start in range(0, len(data.input_ids) - size + 1, size)[: params.validation_batches]:
            input_ids, loss_mask = data.input_ids[start : start + size], data.loss_mask[start : start + size]
            targets = int(loss_mask[:, 1:].sum())
            total += targets * float(self.loss(input_ids.to(self.device), loss_mask.to(self.device)))
            count += targets
        return {"validation/loss": total / count}
