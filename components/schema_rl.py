"""The sections of the alignment stages: `ppo` with its parts, `dpo`, `feedme`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from components.schema_base import (
    STRICT,
    BatchSize,
    Count,
    Fraction,
    NaturalNumber,
    NonNegative,
    Optimizer,
    Positive,
    Seed,
    Weights,
)

GroupSize = Annotated[int, Field(ge=2)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ActorCritic:
    """PPO: advantages by GAE from a separate value network (arXiv:1707.06347, arXiv:1506.02438)."""

    kind: Literal["ppo"]
    discount: Fraction
    gae_lambda: Fraction
    value_clip: Positive
    value_warmup: NaturalNumber  # iterations in which the value network alone is trained
    value: Optimizer

    @property
    def replies_per_prompt(self) -> int:
        """A value network needs no group to compare with."""
        return 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Grpo:
    """No value network: advantages are normalised within the replies to a prompt (arXiv:2402.03300)."""

    kind: Literal["grpo"]
    replies_per_prompt: GroupSize


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Rloo:
    """No value network: the baseline is the mean of the other replies to the prompt (arXiv:2402.14740)."""

    kind: Literal["rloo"]
    replies_per_prompt: GroupSize


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelReward:
    """The learned reward model."""

    kind: Literal["model"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GoldReward:
    """The gold function itself: for studies of what a reward model costs, never for a model that is compared."""

    kind: Literal["gold"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VerifierReward:
    """Tasks with answers that a program checks, made by the optional `reasoning-gym` (`pip install .[verifier]`)."""

    kind: Literal["verifier"]
    task: str
    questions: Count


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FixedKl:
    """The KL coefficient stays what it is."""

    kind: Literal["fixed"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ZieglerKl:
    """The KL coefficient moves so that the KL of a reply approaches `target` nats (arXiv:1909.08593)."""

    kind: Literal["ziegler"]
    target: Positive
    horizon: Count


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SchulmanKl:
    """The KL coefficient is halved or doubled when the KL of a reply leaves the target's range (arXiv:1707.06347)."""

    kind: Literal["schulman"]
    target: Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CoefficientMix:
    """PPO-ptx: `value` times the pretraining loss is added (arXiv:2203.02155, equation 2); 0 for plain PPO."""

    kind: Literal["coefficient"]
    value: NonNegative


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientRatioMix:
    """PPO-ptx with the coefficient at which the pretraining gradient is `value` times as long as the policy's."""

    kind: Literal["gradient_ratio"]
    value: Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Stops:
    """When a run is ended with the cause named: a KL budget, and how far figures may fall below the first rollout's."""

    kl_per_reply: Positive
    entropy_share: Fraction
    distinct_2_share: Fraction
    response_tokens_share: Fraction
    ended_share: Fraction


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Ppo:
    """InstructGPT's reinforcement learning stage (arXiv:2203.02155, section 3.5 and appendix C.4)."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    weights: Weights
    algorithm: Annotated[ActorCritic | Grpo | Rloo, Field(discriminator="kind")]
    reward: Annotated[ModelReward | GoldReward | VerifierReward, Field(discriminator="kind")]
    iterations: Count
    rollout_batch_size: BatchSize
    minibatch_size: BatchSize
    microbatch_size: BatchSize
    inner_epochs: Count
    clip_ratio: Positive
    kl_coef: NonNegative
    kl_estimator: Literal["k1", "k2", "k3", "exact"]
    kl_control: Annotated[FixedKl | ZieglerKl | SchulmanKl, Field(discriminator="kind")]
    whiten_rewards: bool
    unended_score: float
    pretraining_mix: Annotated[CoefficientMix | GradientRatioMix, Field(discriminator="kind")]
    pretrain_batch_size: BatchSize
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    stops: Stops
    checkpoint_interval: Count
    policy: Optimizer

    @model_validator(mode="after")
    def _values_agree(self) -> "Ppo":
        problems = []
        if self.rollout_batch_size % self.minibatch_size or self.minibatch_size % self.microbatch_size:
            problems.append("rollout_batch_size must be a multiple of minibatch_size, and that of microbatch_size")
        if self.rollout_batch_size % self.algorithm.replies_per_prompt:
            problems.append("rollout_batch_size must be a multiple of algorithm.replies_per_prompt")
        networks = {"policy": self.policy}
        if isinstance(self.algorithm, ActorCritic):
            networks["algorithm.value"] = self.algorithm.value
            if self.algorithm.value_warmup >= self.iterations:
                problems.append(
                    f"algorithm.value_warmup {self.algorithm.value_warmup} leaves none of the {self.iterations} "
                    "iterations to the policy"
                )
        problems += [
            f"{name}.{problem}"
            for name, optimizer in networks.items()
            if (problem := optimizer.warmup_problem(self.iterations, "iterations"))
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dpo:
    """Direct preference optimisation on the comparisons; a batch has `prompts_per_batch` rankings."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    beta: Positive
    max_steps: Count
    prompts_per_batch: BatchSize
    checkpoint_interval: Count
    optimizer: Optimizer

    @model_validator(mode="after")
    def _rate_is_reached(self) -> "Dpo":
        if problem := self.optimizer.warmup_problem(self.max_steps, "steps"):
            raise ValueError(f"optimizer.{problem}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Feedme:
    """Fine-tuning on the best-ranked replies; a batch is `batch_size` rows."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    max_steps: Count
    batch_size: BatchSize
    validation_interval: Count
    validation_batches: Count
    checkpoint_interval: Count
    optimizer: Optimizer

    @model_validator(mode="after")
    def _rate_is_reached(self) -> "Feedme":
        if problem := self.optimizer.warmup_problem(self.max_steps, "steps"):
            raise ValueError(f"optimizer.{problem}")
        return self
