"""SFT: fine-tune the pretrained model on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5).

Conversations are rendered with the chat template; the loss covers the assistant's words and its end marker only.
Writes `artifacts/sft/model/` and registers it as `gpt-sft`.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.data.demonstrations import DemonstrationRows, load_demonstrations
from components.data.order import epoch_rows
from components.losses.language_modelling import next_token_loss
from components.models.precision import autocast
from components.models.transformer import GPT
from components.stages.fit import SupervisedModule, compiled, fit
from components.stages.runtime import Stage, run_stage

PRETRAINED = Path("artifacts/pretrain/model")
DEMONSTRATIONS = Path("artifacts/prepare/demonstrations")


class SftModule(SupervisedModule):
    """Next-token prediction on conversations, masked to what the assistant says."""

    def __init__(self, stage: Stage, model: GPT, train: DemonstrationRows, validation: DemonstrationRows) -> None:
        params = stage.params.sft
        super().__init__(stage, model, params.optimizer, total_steps=params.max_steps)
        self.train_rows, self.validation_rows = train, validation
        self.compiled_loss = compiled(self.loss, stage.params.compute)
        self.note = ""

    def loss(self, input_ids: Tensor, loss_mask: Tensor) -> Tensor:
        """Mean loss in nats over the targets that count; both arguments are [B, T + 1]."""
        model: GPT = self.network  # type: ignore[assignment]
        with autocast(self.stage.params.compute.precision, input_ids.device):
            return next_token_loss(model.logits(model(input_ids[:, :-1])), input_ids[:, 1:], loss_mask[:, 1:])

    def make_batch(self, step: int) -> list[Tensor]:
        params = self.stage.params
        data = self.train_rows
        rows = epoch_rows(step, batch_size=params.sft.batch_size, num_rows=len(data.input_ids), seed=params.seed)
        return [self.share(data.input_ids[rows]), self.share(data.loss_mask[rows])]

    def train_on(self, batch: list[Tensor], step: int) -> dict[str, float]:
        loss = self.compiled_loss(*batch)
        norm = self.minimise(loss)
        self.note = f"loss {loss.item():.3f}"
        trained = batch[1][:, 1:].sum() / (batch[0][:, 1:] != self.train_rows.pad_id).sum()
        return {"train/loss": loss.item(), "train/gradient_norm": norm, "train/trained_fraction": trained.item()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss on the first validation rows, weighted by the tokens that count."""
        params, data = self.stage.params.sft, self.validation_rows
        total, count = 0.0, 0
        size = min(params.batch_size, len(data.input_ids))
        for start in range(0, len(data.input_ids) - size + 1, size)[: params.validation_batches]:
            input_ids, loss_mask = data.input_ids[start : start + size], data.loss_mask[start : start + size]
            targets = int(loss_mask[:, 1:].sum())
            total += targets * float(self.compiled_loss(input_ids.to(self.device), loss_mask.to(self.device)))
            count += targets
        return {"validation/loss": total / count}


def sft(stage: Stage) -> None:
    """The whole stage."""
    params = stage.params
    torch.manual_seed(params.seed)
    tokenizer = load_tokenizer(PRETRAINED)
    train, validation = (
        load_demonstrations(DEMONSTRATIONS / f"{split}.jsonl", tokenizer, max_tokens=params.sft.max_tokens)
        for split in ("train", "validation")
    )
    module = SftModule(stage, load_gpt(PRETRAINED).train(), train, validation)
    stage.metrics["untuned"] = module.validate()
    fit(
        stage,
        module,
        checkpoint_interval=params.sft.checkpoint_interval,
        validate_every=params.sft.validation_interval,
    )
    final = module.validate()
    stage.metrics |= {
        "rows": len(train.input_ids),
        "trained_fraction": train.trained_fraction,
        "validation": {"loss": final["validation/loss"], "perplexity": math.exp(final["validation/loss"])},
    }
    model: GPT = module.network  # type: ignore[assignment]
    save_model(stage.path("model"), model, PRETRAINED / "tokenizer.json")
    stage.tracker.register_model(stage.path("model"))


if __name__ == "__main__":
    run_stage("sft", sft)
