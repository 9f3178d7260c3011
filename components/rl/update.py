"""One update of policy and value network on a minibatch of experience."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from components.data.order import epoch_windows
from components.losses.language_modelling import next_token_loss
from components.losses.ppo import clipped_policy_loss, clipped_value_loss
from components.models.precision import autocast
from components.models.replies import sampling_of
from components.models.scoring import response_logprobs, response_values
from components.rl.rollout import Experience

if TYPE_CHECKING:
    from components.stages.ppo import ActorCritic, Ppo
    from components.training.fit import TrainingModule


class PolicyUpdate:
    """Updates of one iteration. Every mean is over the minibatch of all processes, however it is cut into parts."""

    def __init__(self, module: "TrainingModule | Any", step: int) -> None:
        self.module, self.step = module, step
        self.params: Ppo = module.stage.section
        self.sampling = sampling_of(module.stage.generation)
        optimizers = module.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        self.policy_optimizers = optimizers[: module.policy_optimizers]
        self.value_optimizers = optimizers[module.policy_optimizers :]

    def __call__(self, experience: Experience, rows: Int[Tensor, "N"], number: int) -> dict[str, float]:
        """Update on some rows; `number` counts the updates of the iteration. Returns figures of this update."""
        parts = self._parts(experience, rows)
        tokens = experience.rollout.batch.response_mask[rows].sum()
        count = self.module.total(tokens)
        algorithm = self.params.algorithm
        figures: dict[str, float] = {}
        if algorithm.kind == "ppo":
            figures |= self._update_value(parts, count, algorithm)
            if self.step < algorithm.value_warmup:
                return figures
        return figures | self._update_policy(parts, count, number)

    def _parts(self, experience: Experience, rows: Tensor) -> list[Experience]:
        """Micro-batches of this process's rows, as many as the process with the most has.

        Data-parallel strategies meet at every backward pass; a process that has run out of rows takes part with one
        that counts nothing.
        """
        size = self.params.microbatch_size
        parts = [experience.rows(index) for index in torch.split(rows, size)] if len(rows) else []
        most = int(self.module.largest(torch.tensor(len(parts), device=rows.device)))
        return parts + [experience.rows(rows.new_zeros(1)).masked()] * (most - len(parts))

    def _update_policy(self, parts: list[Experience], count: Tensor, number: int) -> dict[str, float]:
        module, params = self.module, self.params
        done = [self._policy_part(part, count) for part in parts]
        figures = {name: float(module.total(torch.stack([d[name] for d in done]).sum())) for name in done[0]}
        if number:  # only before the first update are the weights those that sampled
            del figures["update/ratio_deviation"]
        own = [None if p.grad is None else p.grad.clone() for p in module.policy.parameters()]
        figures["update/policy_loss_gradient_norm"] = _norm(own)
        figures |= self._mix_pretraining(own, number)
        norm = module.apply_gradients(module.policy, self.policy_optimizers, params.policy)
        self._average()
        return figures | {"update/policy_gradient_norm": norm}

    def _policy_part(self, part: Experience, count: Tensor) -> dict[str, Tensor]:
        """Add the gradients of one micro-batch; its share of the minibatch's figures."""
        rollout, mask = part.rollout, part.rollout.batch.response_mask
        with autocast(self.module.precision, self.module.device):
            logprobs = response_logprobs(self.module.policy, rollout.batch, self.sampling, rollout.kept)
            policy = clipped_policy_loss(
                logprobs, rollout.old_logprobs, part.advantages, mask,
                clip_ratio=self.params.clip_ratio, count=count,
            )  # fmt: skip
        self.module.accumulate(policy.loss)
        deviation = ((logprobs - rollout.old_logprobs).detach().abs() * mask).sum() / count
        return {
            "update/ratio_deviation": deviation,
            "update/policy_loss": policy.loss.detach(),
            "update/approximate_kl": policy.approximate_kl,
            "update/clip_fraction": policy.clip_fraction,
        }

    def _mix_pretraining(self, own: list[Tensor | None], number: int) -> dict[str, float]:
        """PPO-ptx: add the pretraining gradient, scaled by a coefficient or to a share of the policy's length."""
        module, params = self.module, self.params
        mix = params.pretraining_mix
        if mix.value == 0:
            return {}
        module.policy.zero_grad()
        windows = self._pretraining_windows(number)
        targets = module.total(torch.tensor(windows[:, 1:].numel(), device=module.device))
        cap = module.policy.config.logit_cap
        with autocast(self.module.precision, module.device):
            hidden = module.policy(windows[:, :-1])
            loss = next_token_loss(hidden, module.policy.head, windows[:, 1:], count=targets, cap=cap)
        module.accumulate(loss)
        length = _norm([p.grad for p in module.policy.parameters()])
        coefficient = mix.value
        if mix.kind == "gradient_ratio":
            coefficient *= _norm(own) / max(length, 1e-12)
        for parameter, gradient in zip(module.policy.parameters(), own, strict=True):
            if parameter.grad is not None:
                parameter.grad.mul_(coefficient)
                if gradient is not None:
                    parameter.grad.add_(gradient)
        return {
            "update/pretraining_loss": float(module.total(loss.detach())),
            "update/pretraining_gradient_norm": length,
            "update/pretraining_coefficient": coefficient,
        }

    def _pretraining_windows(self, number: int) -> Tensor:
        params, tokens = self.params, self.module.pretraining
        updates = params.inner_epochs * (params.rollout_batch_size // params.minibatch_size)
        first = (self.step * updates + number) * params.pretrain_batch_size
        starts = epoch_windows(
            range(first, first + params.pretrain_batch_size),
            num_tokens=tokens.meta.tokens,
            context_length=tokens.context_length,
            seed=self.module.seed + 1,
        )
        windows: Tensor = tokens.windows(self.module.share(starts)).to(self.module.device)
        return windows

    def _update_value(self, parts: list[Experience], count: Tensor, algorithm: "ActorCritic") -> dict[str, float]:
        module = self.module
        loss, clipped = torch.zeros((), device=module.device), torch.zeros((), device=module.device)
        for part in parts:
            rollout, mask = part.rollout, part.rollout.batch.response_mask
            with autocast(self.module.precision, module.device):
                values = response_values(module.value, rollout.batch)
                result = clipped_value_loss(
                    values, rollout.old_values, part.returns, mask, value_clip=algorithm.value_clip, count=count
                )
            module.accumulate(result.loss)
            loss, clipped = loss + result.loss.detach(), clipped + result.clip_fraction
        norm = module.apply_gradients(module.value, self.value_optimizers, algorithm.value)
        return {
            "update/value_loss": float(module.total(loss)),
            "update/value_clip_fraction": float(module.total(clipped)),
            "update/value_gradient_norm": norm,
        }

    @torch.no_grad()
    def _average(self) -> None:
        """Move the published average towards the policy (InstructGPT, appendix C.4: decay 0.992)."""
        averaged, decay = self.module.averaged, self.params.ema_decay
        if averaged is not None:
            for mean, weight in zip(averaged.parameters(), self.module.policy.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)


def _norm(gradients: list[Tensor | None]) -> float:
    """Length of gradients taken together."""
    return float(torch.stack([g.norm() for g in gradients if g is not None]).norm())
