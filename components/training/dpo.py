"""Direct preference optimisation (arXiv:2305.18290): ranking by implicit rewards."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.checkpoints import load_gpt
from components.data.comparisons import EncodedComparison, as_rows, rank_table
from components.data.order import epoch_rows
from components.losses.preference import implicit_rewards, ranking_loss
from components.losses.sampling import Sampling
from components.models.precision import autocast
from components.models.scoring import response_logprobs
from components.models.transformer import GPT
from components.training.fit import SupervisedModule
from components.work import Work

if TYPE_CHECKING:
    from components.stages.dpo import Dpo


class DpoModule(SupervisedModule):
    """Ranking by implicit rewards; the reference is frozen beside the policy."""

    def __init__(self, stage: "Work[Dpo]", data: list[EncodedComparison], pad_id: int) -> None:
        params, start = stage.section, stage.read("policy")
        super().__init__(stage, load_gpt(start), params.optimizer, total_steps=params.max_steps)
        self.data, self.pad_id = data, pad_id
        self.frozen = {"reference": load_gpt(start)}  # in a dict, so that Lightning neither checkpoints nor trains it
        self.note = ""

    def on_fit_start(self) -> None:
        self.frozen["reference"].to(self.device).requires_grad_(False)

    def rows(self, step: int) -> list[int]:
        size = min(self.stage.section.prompts_per_batch, len(self.data))
        return epoch_rows(step, batch_size=size, num_rows=len(self.data), seed=self.seed)

    def make_batch(self, step: int) -> list[int]:
        return self.share(self.rows(step))  # type: ignore[no-any-return]

    def rewards(self, comparisons: list[EncodedComparison]) -> tuple[Tensor, Tensor]:
        """Implicit rewards and ranks of every reply, [B, K] each; rank 0 where there is none."""
        batch = as_rows(comparisons, pad_id=self.pad_id).to(self.device)
        policy: GPT = self.network  # type: ignore[assignment]
        with autocast(self.precision, self.device):
            own = response_logprobs(policy, batch, Sampling())
            with torch.no_grad():
                reference = response_logprobs(self.frozen["reference"], batch, Sampling())
        ranks = rank_table(comparisons).to(self.device)
        rewards = implicit_rewards(own.sum(dim=1), reference.sum(dim=1), beta=self.stage.section.beta)
        return torch.zeros(ranks.shape, device=self.device).masked_scatter(ranks > 0, rewards), ranks

    def train_on(self, batch: list[int], step: int) -> dict[str, float]:
        chosen = [self.data[row] for row in batch]
        self.tokens = sum(comparison.tokens for comparison in chosen)
        rewards, ranks = self.rewards(chosen)
        result = ranking_loss(rewards, ranks, total=self.total)
        norm = self.minimise(result.loss)
        loss = self.total(result.loss.detach()).item()
        accuracy = float(self.total(result.correct) / self.total(result.pairs).clamp(min=1))
        mean = float(self.total(rewards.detach().sum()) / self.total((ranks > 0).sum()))
        self.note = f"loss {loss:.3f}, pairs right {accuracy:.0%}"
        return {
            "train/loss": loss,
            "train/pair_accuracy": accuracy,
            "train/implicit_reward": mean,
            "train/gradient_norm": norm,
        }
