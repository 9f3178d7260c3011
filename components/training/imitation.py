"""Training on given conversations: next-token prediction on what the assistant says."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from components.data.demonstrations import DemonstrationRows
from components.data.order import epoch_rows
from components.losses.language_modelling import next_token_loss
from components.models.packed import Packed, Segment, in_groups
from components.models.precision import autocast
from components.models.transformer import GPT
from components.sections.optimizer import Imitation
from components.training.fit import SupervisedModule, compiled
from components.work import Work


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
        self.layers = model.config.num_layers
        self.hidden = compiled(model.__call__, stage.compute)
        self.note = ""

    def loss(self, input_ids: Tensor, loss_mask: Tensor, count: Tensor) -> Tensor:
        """Loss in nats over the targets that count, ids and mask being [B, T + 1], divided by `count`."""
        model: GPT = self.network  # type: ignore[assignment]
        with autocast(self.precision, input_ids.device):
            losses = [
                next_token_loss(hidden, model.head, ids, mask, count, cap=model.config.logit_cap)
                for hidden, ids, mask in self._states(input_ids, loss_mask)
            ]
        return torch.stack(losses).sum()

    def _states(self, input_ids: Tensor, loss_mask: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Hidden states, the tokens they predict and which of them count, some rows at a time, without padding.

        A compiled model gets rows of one width, so that it is compiled once.
        """
        if self.stage.compute.compile:
            yield self.hidden(input_ids[:, :-1]), input_ids[:, 1:], loss_mask[:, 1:]
            return
        real = (input_ids != self.train_rows.pad_id).sum(dim=1)
        lengths: list[int] = (real - 1).clamp(min=1).tolist()
        order = sorted(range(len(lengths)), key=lambda row: lengths[row])
        for group in in_groups(order, lengths, input_ids.device):
            segments = [Segment(row, 0, lengths[row]) for row in group]
            packed = Packed(segments, num_layers=self.layers, device=input_ids.device)
            hidden = self.hidden(packed.of(input_ids[:, :-1]), packed)
            yield hidden, packed.of(input_ids[:, 1:]), packed.of(loss_mask[:, 1:])

    def rows(self, step: int) -> list[int]:
        num_rows = len(self.train_rows.input_ids)
        return epoch_rows(step, batch_size=self.params.batch_size, num_rows=num_rows, seed=self.seed)

    def make_batch(self, step: int) -> list[Tensor]:
        rows, data = self.share(self.rows(step)), self.train_rows
        if not rows:  # of more processes than rows; each takes part in every backward pass
            nothing = torch.full_like(data.input_ids[:1], data.pad_id)
            return [nothing, torch.zeros_like(nothing, dtype=torch.bool)]
        return [data.input_ids[rows], data.loss_mask[rows]]

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
