"""Training on given conversations: next-token prediction on what the assistant says."""

from typing import Any

import torch
from torch import Tensor

from components.data.demonstrations import DemonstrationRows
from components.data.order import epoch_rows
from components.data.sequences import length_groups
from components.losses.language_modelling import next_token_loss
from components.models.precision import autocast
from components.models.transformer import GPT
from components.sections.optimizer import Imitation
from components.training.fit import SupervisedModule, compiled
from components.work import Work

GROUP_ROWS = 8


class ImitationModule(SupervisedModule):
    """Next-token prediction on conversations, masked to what the assistant says."""

    def __init__(
        self,
        stage: Work[Any],
        model: GPT,
        *,
        train: DemonstrationRows,
        validation: DemonstrationRows,
    ) -> None:
        params: Imitation = stage.section
        super().__init__(stage, model, params.optimizer, total_steps=params.max_steps)
        self.params = params
        self.train_rows, self.validation_rows = train, validation
        self.hidden = compiled(model.__call__, stage.compute)
        self.note = ""

    def loss(self, input_ids: Tensor, loss_mask: Tensor, count: Tensor) -> Tensor:
        """Loss in nats over the targets that count, ids and mask being [B, T + 1], divided by `count`."""
        model: GPT = self.network  # type: ignore[assignment]
        losses, cap = [], model.config.logit_cap
        with autocast(self.precision, input_ids.device):
            for rows, width in self._groups(input_ids):
                ids, mask = input_ids[rows, :width], loss_mask[rows, :width]
                hidden = self.hidden(ids[:, :-1])
                losses.append(next_token_loss(hidden, model.head, ids[:, 1:], mask[:, 1:], count, cap=cap))
        return torch.stack(losses).sum()

    def _groups(self, input_ids: Tensor) -> list[tuple[Tensor, int]]:
        """Rows of like length and the length of the longest: one goes through the model without the others' padding.

        A compiled model, and a device on which a kernel's start costs more than the padding, gets all rows at once.
        """
        lengths = (input_ids != self.train_rows.pad_id).sum(dim=1)
        if self.stage.compute.compile or input_ids.device.type != "cpu":
            return [(torch.arange(len(lengths), device=lengths.device), input_ids.shape[1])]
        return [(rows, int(lengths[rows[-1]])) for rows in length_groups(lengths, GROUP_ROWS)]

    def rows(self, step: int) -> list[int]:
        num_rows = len(self.train_rows.input_ids)
        return epoch_rows(step, batch_size=self.params.batch_size, num_rows=num_rows, seed=self.seed)

    def make_batch(self, step: int) -> list[Tensor]:
        rows = self.share(self.rows(step))
        return [self.train_rows.input_ids[rows], self.train_rows.loss_mask[rows]]

    def train_on(self, batch: list[Tensor], step: int) -> dict[str, float]:
        count = self.total(batch[1][:, 1:].sum())
        loss = self.loss(batch[0], batch[1], count)
        norm = self.minimise(loss)
        mean = self.total(loss.detach()).item()
        self.note = f"loss {mean:.3f}"
        own = (batch[0][:, 1:] != self.train_rows.pad_id).sum()
        self.tokens, real = int(own), self.total(own)
        return {"train/loss": mean, "train/gradient_norm": norm, "train/trained_fraction": (count / real).item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss on the first validation rows, weighted by the tokens that count."""
        params, data = self.params, self.validation_rows
        total, count = 0.0, 0
        size = min(params.batch_size, len(data.input_ids))
        for start in range(0, len(data.input_ids) - size + 1, size)[: params.validation_batches]:
            input_ids, loss_mask = data.input_ids[start : start + size], data.loss_mask[start : start + size]
            total += float(self.loss(input_ids.to(self.device), loss_mask.to(self.device), torch.tensor(1)))
            count += int(loss_mask[:, 1:].sum())
        return {"validation/loss": total / count}
