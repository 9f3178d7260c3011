"""DPO: align the SFT model with the rankings themselves (arXiv:2305.18290), without reward model and sampling.

A reply's implicit reward is beta times its log-probability ratio to the SFT model; the loss is the reward model's
ranking loss on implicit rewards, with one forward pass a reply. Writes `artifacts/dpo/model/`, registered as `gpt-dpo`.
"""

import torch
from torch import Tensor

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.data.comparisons import EncodedComparison, as_rows, load_comparisons, rank_table
from components.data.order import epoch_rows
from components.losses.preference import implicit_rewards, ranking_loss
from components.losses.sampling import Sampling
from components.models.precision import autocast
from components.models.scoring import response_logprobs
from components.models.transformer import GPT
from components.runtime import Work
from components.stage import Curve, Kind, Stage
from components.training.fit import SupervisedModule, fit, seed_of

STAGE = Stage(
    reads={"policy": Kind.LANGUAGE_MODEL, "comparisons": Kind.COMPARISONS},
    makes={"model": Kind.LANGUAGE_MODEL},
    params=("seed", "compute", "dpo", "generation.max_new_tokens", "prepare.max_prompt_tokens"),
    curves={"history.csv": Curve("step", "train/pair_accuracy")},
)


class DpoModule(SupervisedModule):
    """Ranking by implicit rewards; the reference is frozen beside the policy."""

    def __init__(self, stage: Work, data: list[EncodedComparison], pad_id: int) -> None:
        params, start = stage.params.dpo, stage.read("policy")
        super().__init__(stage, load_gpt(start), params.optimizer, total_steps=params.max_steps)
        self.data, self.pad_id = data, pad_id
        self.frozen = {"reference": load_gpt(start)}  # in a dict, so that Lightning neither checkpoints nor trains it
        self.note = ""

    def on_fit_start(self) -> None:
        self.frozen["reference"].to(self.device).requires_grad_(False)

    def rows(self, step: int) -> list[int]:
        params = self.stage.params
        size = min(params.dpo.prompts_per_batch, len(self.data))
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
        rewards = implicit_rewards(own.sum(dim=1), reference.sum(dim=1), beta=self.stage.params.dpo.beta)
        return torch.zeros(ranks.shape, device=self.device).masked_scatter(ranks > 0, rewards), ranks

    def train_on(self, batch: list[int], step: int) -> dict[str, float]:
        rewards, ranks = self.rewards([self.data[row] for row in batch])
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


def dpo(stage: Work) -> None:
    """The whole stage."""
    params, start = stage.params, stage.read("policy")
    torch.manual_seed(seed_of(stage))
    tokenizer = load_tokenizer(start)
    data, dropped = load_comparisons(
        stage.read("comparisons"),
        tokenizer,
        max_prompt_tokens=params.prepare.max_prompt_tokens,
        max_reply_tokens=params.generation.max_new_tokens,
    )
    module = DpoModule(stage, data, tokenizer.pad)
    fit(stage, module, checkpoint_interval=params.dpo.checkpoint_interval)
    stage.metrics |= {"prompts": len(data), "dropped": dropped, "steps": module.total_steps}
    model: GPT = module.network  # type: ignore[assignment]
    save_model(stage.path("model"), model, start / "tokenizer.json", precision=module.precision)
    stage.tracker.register_model(stage.path("model"))
