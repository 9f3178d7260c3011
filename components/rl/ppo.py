"""PPO (arXiv:1707.06347) as InstructGPT used it (arXiv:2203.02155, section 3.5 and appendix C.4), and GRPO, RLOO."""

import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from components import process
from components.checkpoints import load_gpt, load_scalar
from components.data.chat import ChatTokenizer
from components.data.order import epoch_rows
from components.data.tokens import TokenFile
from components.losses.kl_control import schulman_coefficient, ziegler_coefficient
from components.models.adapters import shared_copy, trainable
from components.models.generation import sample_replies, uniforms
from components.models.heads import ScalarGPT
from components.models.inference import for_sampling
from components.models.precision import autocast
from components.models.replies import EncodedPrompt, sampling_of
from components.models.scoring import response_logprobs
from components.models.transformer import GPT
from components.rewards.source import RewardSource
from components.rl.rollout import Experience, Rollout, as_batch, collect, compute_advantages, rollout_figures
from components.rl.safeguards import check_rollout, preflight
from components.rl.update import PolicyUpdate
from components.training.fit import TrainingModule
from components.training.optim import build_optimizers
from components.work import Work

if TYPE_CHECKING:
    from components.stages.ppo import Ppo

SAMPLE_INTERVAL = 10
SAMPLE_ROWS = 8
PREFLIGHT_PROMPTS = 16


class PpoModule(TrainingModule):
    """Policy and value network, each with its own optimizer; reference and reward source are frozen beside them."""

    kl_coef: Float[Tensor, ""]

    def __init__(
        self,
        stage: "Work[Ppo]",
        tokenizer: ChatTokenizer,
        prompts: list[EncodedPrompt],
        reference: GPT,
        reward: RewardSource,
    ) -> None:
        params = stage.section
        super().__init__(stage, total_steps=params.iterations)
        self.tokenizer, self.prompts, self.reward = tokenizer, prompts, reward
        adapted = params.weights.kind == "lora"
        self.policy = trainable(reference if adapted else load_gpt(stage.read("policy")), params.weights)
        self.value = None
        if params.algorithm.kind == "ppo":
            shared = reward.network if adapted else None
            critic = shared or load_scalar(stage.read("reward"), reference if adapted else None)
            self.value = trainable(critic, params.weights)
        self.averaged = shared_copy(self.policy).requires_grad_(False) if params.ema_decay else None
        self.register_buffer("kl_coef", torch.tensor(params.kl_coef, dtype=torch.float64))
        # In a dict, so that Lightning neither checkpoints nor trains it.
        self.frozen: dict[str, GPT | ScalarGPT] = {"reference": reference}
        if reward.network is not None:
            self.frozen["reward"] = reward.network
        self.pretraining = TokenFile(stage.read("tokens") / "train.json", context_length=stage.limits.context_length)
        self.note = ""

    @property
    def published(self) -> GPT:
        """The model that the stage is for: the policy, or its moving average where one is kept."""
        return self.averaged or self.policy

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        params = self.stage.section
        optimizers = build_optimizers(self.policy, params.policy)
        self.policy_optimizers = len(optimizers)
        if self.value is not None and params.algorithm.kind == "ppo":
            optimizers += build_optimizers(self.value, params.algorithm.value)
        return optimizers

    def on_fit_start(self) -> None:
        for network in self.frozen.values():
            network.to(self.device).requires_grad_(False)

    def rows(self, step: int) -> list[int]:
        params = self.stage.section
        size = params.rollout_batch_size // params.algorithm.replies_per_prompt
        return epoch_rows(step, batch_size=size, num_rows=len(self.prompts), seed=self.seed)

    def make_batch(self, step: int) -> list[tuple[int, int]]:
        """This process's prompts of a step: pairs of a place in the batch of all processes and a row of the prompts."""
        return self.share(list(enumerate(self.rows(step))))  # type: ignore[no-any-return]

    def train_on(self, batch: list[tuple[int, int]], step: int) -> dict[str, float]:
        params = self.stage.section
        group = params.algorithm.replies_per_prompt
        prompts = [self.prompts[row] for _, row in batch for _ in range(group)]
        places = [place * group + k for place, _ in batch for k in range(group)]
        with autocast(self.precision, self.device):
            rollout = self.sample(prompts, places, step)
        if step == 0:
            with autocast("32-true", self.device):  # bf16 would hide in its rounding what this looks for
                self._preflight(prompts, places)
        self.tokens = rollout.batch.tokens
        experience = compute_advantages(rollout, params, kl_coef=float(self.kl_coef), total=self.total)
        figures = rollout_figures(experience, self.total)
        figures["rollout/kl_coef"] = float(self.kl_coef)
        check_rollout(figures, self._first_figures(figures), params.stops)
        process.hand_back()
        with self.stage.rates.timed("update/training") as lap:
            figures |= self.update(experience, places, step)
            lap.tokens = params.inner_epochs * self.tokens
        process.hand_back()
        self._control_kl(figures["rollout/kl_per_reply"])
        if step % SAMPLE_INTERVAL == 0:
            self._log_samples(prompts, rollout, step)
        self.note = (
            f"score {figures['rollout/score']:.2f}, KL {figures['rollout/kl_per_reply']:.2f} nats, "
            f"ended {figures['rollout/ended_share']:.0%}"
        )
        return figures

    @torch.no_grad()
    def sample(self, prompts: list[EncodedPrompt], places: list[int], step: int) -> Rollout:
        """Sample and score a reply to each prompt; `places` are theirs in the batch of all processes."""
        params, generation, rates = self.stage.section, self.stage.generation, self.stage.rates
        ids = [prompt.ids for prompt in prompts]
        uniform = uniforms(params.rollout_batch_size, generation.max_new_tokens, seed=(self.seed, 2, step))[places]
        with rates.timed("rollout/sampling") as lap:
            replies = sample_replies(
                for_sampling(self.policy, rows=len(ids), steps=generation.max_new_tokens),
                ids,
                sampling=sampling_of(generation),
                uniform=uniform,
                end_id=self.tokenizer.end,
                pad_id=self.tokenizer.pad,
            )
            lap.tokens = int(replies.response_mask.sum())
        batch = as_batch(ids, replies, pad_id=self.tokenizer.pad)
        with rates.timed("rollout/scoring") as lap:
            scores = self.reward.score(prompts, batch)
            lap.tokens = batch.tokens
        with rates.timed("rollout/figures") as lap:
            rollout = collect(
                ids,
                replies,
                scores,
                policy=self.policy,
                reference=self.frozen["reference"],  # type: ignore[arg-type]
                value_model=self.value,
                sampling=sampling_of(generation),
                unended_score=params.unended_score,
                pad_id=self.tokenizer.pad,
            )
            lap.tokens = batch.tokens
        return rollout

    def update(self, experience: Experience, places: list[int], step: int) -> dict[str, float]:
        """Inner epochs over the rollout in fresh random minibatches; figures averaged over the updates.

        Minibatches are drawn from the batch of all processes, so they are the same however many there are. Replies to
        one prompt stay together: it goes through the model once for those of a micro-batch.
        """
        params = self.stage.section
        group = params.algorithm.replies_per_prompt
        update = PolicyUpdate(self, step)
        mine = {place: row for row, place in enumerate(places)}
        updates: list[dict[str, float]] = []
        for epoch in range(params.inner_epochs):
            groups = np.random.default_rng((self.seed, step, epoch)).permutation(params.rollout_batch_size // group)
            order = (groups[:, None] * group + np.arange(group)).ravel()
            for start in range(0, len(order), params.minibatch_size):
                chosen = [mine[place] for place in order[start : start + params.minibatch_size] if place in mine]
                rows = torch.tensor(chosen, dtype=torch.long, device=self.device)
                updates.append(update(experience, rows, len(updates)))
        first = {"update/first_ratio_deviation": updates[0].pop("update/ratio_deviation", 0.0)}
        return first | {key: float(np.mean([u[key] for u in updates if key in u])) for key in updates[0]}

    @torch.no_grad()
    def _preflight(self, prompts: list[EncodedPrompt], places: list[int]) -> None:
        few = slice(0, PREFLIGHT_PROMPTS)
        rollout = self.sample(prompts[few], places[few], step=0)
        rows = torch.arange(len(rollout.scores), device=self.device)
        sampling = sampling_of(self.stage.generation)
        again = response_logprobs(self.policy, rollout.batch.rows(rows.flip(0)), sampling, _flip(rollout.kept))
        learned = "reward" in self.frozen
        demonstrations = json.loads(self.stage.read("reward_figures").read_text())["demonstrations"] if learned else {}
        preflight(rollout, again.flip(0), clip_ratio=self.stage.section.clip_ratio, demonstrations=demonstrations)

    def _first_figures(self, figures: dict[str, float]) -> dict[str, float]:
        rows = self.history.rows()
        return rows[0] if rows else figures

    def _control_kl(self, kl: float) -> None:
        """Move the KL coefficient; it is a buffer, so a resumed run goes on with it."""
        control, coefficient = self.stage.section.kl_control, float(self.kl_coef)
        if control.kind == "ziegler":
            episodes = self.stage.section.rollout_batch_size
            coefficient = ziegler_coefficient(
                coefficient, kl, target=control.target, episodes=episodes, horizon=control.horizon
            )
        elif control.kind == "schulman":
            coefficient = schulman_coefficient(coefficient, kl, target=control.target)
        self.kl_coef.fill_(coefficient)

    def _log_samples(self, prompts: list[EncodedPrompt], rollout: Rollout, step: int) -> None:
        """A table of prompts, replies and scores, to be read beside the curves."""
        table = []
        for place, prompt in enumerate(prompts[:SAMPLE_ROWS]):
            mask = rollout.batch.response_mask[place]
            reply = self.tokenizer.decode(rollout.batch.response_ids[place][mask].tolist())
            table.append({"user": prompt.user, "reply": reply, "score": float(rollout.scores[place])})
        self.stage.tracker.log_table("rollouts", table, step)


def _flip(kept: Tensor | None) -> Tensor | None:
    return None if kept is None else kept.flip(0)
