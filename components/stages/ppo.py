"""PPO: align the SFT model with the reward model (InstructGPT, arXiv:2203.02155, section 3.5, PPO-ptx).

Every iteration samples replies to a batch of prompts, scores them, and improves policy and value network on them for
a few epochs. A per-token KL penalty holds the policy near the SFT model, and a pretraining loss is mixed in.
Writes `artifacts/ppo/model/`, registered as `gpt-ppo`; its champion is decided by evaluate.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.checkpoints import load_gpt, load_scalar, load_tokenizer, save_model
from components.data.chat import ChatTokenizer
from components.data.order import epoch_rows
from components.data.tokens import TokenFile
from components.losses.language_modelling import next_token_loss
from components.losses.ppo import clipped_policy_loss, clipped_value_loss
from components.models.precision import autocast
from components.models.scoring import response_logprobs, response_values
from components.stages.fit import TrainingModule, fit
from components.stages.optim import build_optimizers
from components.stages.replies import EncodedPrompt, load_prompts, sampling_of
from components.stages.rollout import Rollout, collect, rollout_figures
from components.stages.runtime import Stage, run_stage

SFT = Path("artifacts/sft/model")
REWARD = Path("artifacts/reward/model")
PROMPTS = Path("artifacts/prepare/prompts/ppo.jsonl")
PRETRAINING_TOKENS = Path("artifacts/prepare/tokens/train.bin")
SAMPLE_INTERVAL = 10
SAMPLE_ROWS = 8


class PpoModule(TrainingModule):
    """Policy and value network, each with its own optimizer; reference and reward model are frozen beside them."""

    def __init__(self, stage: Stage, tokenizer: ChatTokenizer, prompts: list[EncodedPrompt]) -> None:
        super().__init__(stage, total_steps=stage.params.ppo.iterations)
        self.tokenizer, self.prompts = tokenizer, prompts
        self.policy = load_gpt(SFT)
        self.value = load_scalar(REWARD)
        # In a dict, so that Lightning neither checkpoints nor trains them.
        self.frozen = {"reference": load_gpt(SFT), "reward": load_scalar(REWARD)}
        self.pretraining = TokenFile(PRETRAINING_TOKENS, context_length=self.policy.config.context_length)
        self.note = ""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        params = self.stage.params.ppo
        self.policy_optimizers = build_optimizers(self.policy, params.policy)
        return self.policy_optimizers + build_optimizers(self.value, params.value)

    def on_fit_start(self) -> None:
        for network in self.frozen.values():
            network.to(self.device).requires_grad_(False)

    def make_batch(self, step: int) -> list[int]:
        params = self.stage.params
        rows = epoch_rows(step, batch_size=params.ppo.rollout_batch_size, num_rows=len(self.prompts), seed=params.seed)
        return rows[self.global_rank :: self.trainer.world_size]

    def train_on(self, batch: list[int], step: int) -> dict[str, float]:
        rollout = self._collect([self.prompts[row].ids for row in batch], step)
        figures = rollout_figures(rollout)
        figures |= self._improve(rollout, step)
        if step % SAMPLE_INTERVAL == 0:
            self._log_samples(batch, rollout, step)
        self.note = (
            f"score {figures['rollout/score']:.2f}, KL {figures['rollout/kl_per_reply']:.2f} nats, "
            f"ended {figures['rollout/ended_share']:.0%}"
        )
        return figures

    def _collect(self, prompts: list[list[int]], step: int) -> Rollout:
        params = self.stage.params
        with autocast(params.compute.precision, self.device):
            return collect(
                prompts,
                policy=self.policy,
                reference=self.frozen["reference"],  # type: ignore[arg-type]
                reward_model=self.frozen["reward"],  # type: ignore[arg-type]
                value_model=self.value,
                ppo=params.ppo,
                sampling=sampling_of(params.generation),
                max_new_tokens=params.generation.max_new_tokens,
                end_id=self.tokenizer.end,
                pad_id=self.tokenizer.pad,
                generator=torch.Generator(self.device).manual_seed(
                    (params.seed * 1_000_003 + step) * 1_009 + self.global_rank
                ),
            )

    def _improve(self, rollout: Rollout, step: int) -> dict[str, float]:
        """Inner epochs over the rollout in fresh random minibatches; figures averaged over the updates."""
        params = self.stage.params.ppo
        rows = len(rollout.scores)
        updates: list[dict[str, float]] = []
        for epoch in range(params.inner_epochs):
            order = np.random.default_rng((self.stage.params.seed, step, epoch)).permutation(rows)
            for start in range(0, rows, params.minibatch_size):
                index = torch.from_numpy(order[start : start + params.minibatch_size]).to(self.device)
                part = rollout.rows(index)
                number = step * params.inner_epochs * (rows // params.minibatch_size) + len(updates)
                updates.append(self._update_policy(part, number) | self._update_value(part))
        first = {"update/first_ratio_deviation": updates[0].pop("update/ratio_deviation")}
        return first | {key: float(np.mean([update[key] for update in updates if key in update])) for key in updates[0]}

    def _update_policy(self, part: Rollout, number: int) -> dict[str, float]:
        params = self.stage.params
        mask = part.batch.response_mask
        with autocast(params.compute.precision, self.device):
            logprobs = response_logprobs(self.policy, part.batch, temperature=params.generation.temperature)
            policy = clipped_policy_loss(
                logprobs, part.old_logprobs, part.advantages, mask, clip_ratio=params.ppo.clip_ratio
            )
            windows = self.share(
                self.pretraining.training_batch(number, batch_size=params.ppo.pretrain_batch_size, seed=params.seed + 1)
            ).to(self.device)
            pretraining = self._pretraining_loss(windows)
        loss = policy.loss + params.ppo.pretrain_coef * pretraining
        optimizers = self._optimizers()
        norm = self.update(loss, self.policy, optimizers[: len(self.policy_optimizers)], params.ppo.policy)
        deviation = ((logprobs - part.old_logprobs).abs() * mask).max()
        return {
            "update/policy_loss": policy.loss.item(),
            "update/approximate_kl": policy.approximate_kl.item(),
            "update/clip_fraction": policy.clip_fraction.item(),
            "update/pretraining_loss": pretraining.item(),
            "update/policy_gradient_norm": norm,
            "update/ratio_deviation": deviation.item(),
        }

    def _pretraining_loss(self, windows: Tensor) -> Tensor:
        hidden = self.policy(windows[:, :-1])
        return next_token_loss(self.policy.logits(hidden), windows[:, 1:])

    def _update_value(self, part: Rollout) -> dict[str, float]:
        params = self.stage.params
        mask = part.batch.response_mask
        with autocast(params.compute.precision, self.device):
            values = response_values(self.value, part.batch)
            result = clipped_value_loss(values, part.old_values, part.returns, mask, value_clip=params.ppo.value_clip)
        optimizers = self._optimizers()
        norm = self.update(result.loss, self.value, optimizers[len(self.policy_optimizers) :], params.ppo.value)
        return {
            "update/value_loss": result.loss.item(),
            "update/value_clip_fraction": result.clip_fraction.item(),
            "update/value_gradient_norm": norm,
        }

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def _log_samples(self, batch: list[int], rollout: Rollout, step: int) -> None:
        """A table of prompts, replies and scores, to be read beside the curves."""
        table = []
        for place, row in enumerate(batch[:SAMPLE_ROWS]):
            mask = rollout.batch.response_mask[place]
            reply = self.tokenizer.decode(rollout.batch.response_ids[place][mask].tolist())
            table.append({"user": self.prompts[row].user, "reply": reply, "score": float(rollout.scores[place])})
        self.stage.tracker.log_table("rollouts", table, step)


def ppo(stage: Stage) -> None:
    """The whole stage."""
    params = stage.params
    torch.manual_seed(params.seed)
    tokenizer = load_tokenizer(SFT)
    prompts = load_prompts(PROMPTS, tokenizer, max_tokens=params.prepare.max_prompt_tokens)
    module = PpoModule(stage, tokenizer, prompts)
    fit(stage, module, checkpoint_interval=params.ppo.checkpoint_interval, unit="iterations")
    stage.metrics |= {"episodes": params.ppo.iterations * params.ppo.rollout_batch_size, "prompts": len(prompts)}
    save_model(stage.path("model"), module.policy, SFT / "tokenizer.json")
    stage.tracker.register_model(stage.path("model"))


if __name__ == "__main__":
    run_stage("ppo", ppo)
