"""Fine-tuning a language model on labelled texts (GPT, section 3.2): L3 = L2 + lambda L1."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from components.checkpoints import load_tokenizer
from components.data.chat import ChatTokenizer
from components.data.chat_format import CHAT_FILE
from components.data.order import epoch_rows
from components.evaluation.classes import scored
from components.evaluation.transformations import MARKERS
from components.losses.cross_entropy import target_losses
from components.models.classifier import ClassifierGPT, Verdict
from components.models.precision import autocast
from components.models.transformer import GPT
from components.models.vocabulary import grow
from components.training.fit import SupervisedModule
from components.work import Work

if TYPE_CHECKING:
    from components.stages.finetune import Finetune

Sequences = list[list[int]]


class ClassificationModule(SupervisedModule):
    """Scores of classes or choices, and beside them the language model's own loss on the same texts."""

    def __init__(
        self, stage: "Work[Finetune]", model: ClassifierGPT, items: Sequence[Sequences], classes: Sequence[int]
    ) -> None:
        params = stage.section
        # Batches are full: one that an epoch's end would cut goes on with the next epoch.
        steps = -(-params.epochs * len(items) // min(params.batch_size, len(items)))
        super().__init__(stage, model, params.optimizer, total_steps=steps)
        self.params, self.items, self.classes = params, items, torch.tensor(classes)
        self.note = ""

    def rows(self, step: int) -> list[int]:
        size = min(self.params.batch_size, len(self.items))
        return epoch_rows(step, batch_size=size, num_rows=len(self.items), seed=self.seed)

    def make_batch(self, step: int) -> tuple[list[int], bool]:
        """This process's rows; where there are more processes than rows, one that stands in, and that it does."""
        own = self.share(self.rows(step))
        return own or [0], bool(own)

    def read(self, items: Sequence[Sequences]) -> Verdict:
        """What the model tells of some items."""
        with autocast(self.precision, self.device):
            return self.network(items)  # type: ignore[no-any-return]

    def train_on(self, batch: tuple[list[int], bool], step: int) -> dict[str, float]:
        rows, real = batch
        items, classes = [self.items[row] for row in rows], self.classes[rows].to(self.device)
        self.tokens = real * sum(len(ids) for item in items for ids in item)
        counts = torch.tensor([len(items), sum(map(len, items))], device=self.device) * real
        found, (count, sequences) = self.read(items), self.total(counts)
        own = real * F.cross_entropy(found.scores, classes, reduction="sum") / count
        auxiliary = real * self._language_loss(found, sequences)
        norm = self.minimise(own + self.params.auxiliary * auxiliary)
        right = self.total(real * (found.scores.argmax(dim=1) == classes).sum()) / count
        loss = self.total(own.detach()).item()
        self.note = f"loss {loss:.3f}, right {float(right):.0%}"
        figures = {"train/loss": loss, "train/accuracy": float(right), "train/gradient_norm": norm}
        if self.params.auxiliary:
            figures["train/language_loss"] = self.total(auxiliary.detach()).item()
        return figures

    def _language_loss(self, found: Verdict, sequences: Tensor) -> Tensor:
        """Nats a token of each sequence, averaged over the sequences of all processes (as in the released code)."""
        if not self.params.auxiliary:
            return found.scores.new_zeros(())
        model: ClassifierGPT = self.network  # type: ignore[assignment]
        with autocast(self.precision, self.device):
            losses = target_losses(found.hidden, model.body.head, found.targets, cap=model.config.logit_cap)
        tokens = torch.bincount(found.owners)
        return (losses / tokens[found.owners]).sum() / sequences

    def accuracy(self, items: Sequence[Sequences], classes: Sequence[int]) -> dict[str, float]:
        """Share of items whose likeliest class is the right one, and the loss in nats an item."""
        model: ClassifierGPT = self.network  # type: ignore[assignment]
        scores = [part.cpu() for part in scored(model, items, precision=self.precision)]
        width = max(part.shape[1] for part in scores)  # of the most choices that an item has
        table = torch.cat([F.pad(part, (0, width - part.shape[1]), value=-torch.inf) for part in scores]).float()
        right = torch.tensor(classes)
        hits = (table.argmax(dim=1) == right).float().mean()
        return {"accuracy": float(hits), "loss": float(F.cross_entropy(table, right))}


def with_markers(body: GPT, base: Path, folder: Path, *, seed: int) -> ChatTokenizer:
    """The tokenizer of a model's folder with the tokens that transformations need, kept in another folder.

    The body gets rows for those that are new, drawn as weights are at the start (GPT, section 4.1).
    """
    tokenizer = load_tokenizer(base).tokenizer
    missing = [marker for marker in MARKERS if tokenizer.token_to_id(marker) is None]
    tokenizer.add_special_tokens(missing)
    draws = torch.Generator().manual_seed(seed)
    if missing:
        ids = [int(tokenizer.token_to_id(marker) or 0) for marker in missing]
        grow(body, ids, lambda table: 0.02 * torch.randn(len(ids), table.shape[1], generator=draws))
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    if (base / CHAT_FILE).exists():
        shutil.copyfile(base / CHAT_FILE, folder / CHAT_FILE)
    return load_tokenizer(folder)
