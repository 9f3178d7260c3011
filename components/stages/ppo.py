"""PPO: align the SFT model with a reward source (InstructGPT, arXiv:2203.02155, section 3.5, PPO-ptx).

Every iteration samples replies to a batch of prompts, scores them, and improves the policy on them for a few epochs:
with a value network (PPO) or with the other replies to the prompt as baseline (GRPO, RLOO). A per-token KL penalty
holds the policy near the SFT model, and a pretraining loss is mixed in. Writes a model folder and registers it; its
champion is decided by evaluate.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from components.sections.base import (
    BatchSize,
    Count,
    Fraction,
    NaturalNumber,
    NonNegative,
    Positive,
    Seed,
    section,
)
from components.sections.compute import Compute
from components.sections.generation import Generation
from components.sections.limits import Limits
from components.sections.optimizer import Optimizer
from components.sections.seam import Seam
from components.sections.weights import Weights
from components.stage import Curve, Kind, Stage

if TYPE_CHECKING:
    from components.work import Work

GroupSize = Annotated[int, Field(ge=2)]


@section
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


@section
class Grpo:
    """No value network: advantages are normalised within the replies to a prompt (arXiv:2402.03300)."""

    kind: Literal["grpo"]
    replies_per_prompt: GroupSize


@section
class Rloo:
    """No value network: the baseline is the mean of the other replies to the prompt (arXiv:2402.14740)."""

    kind: Literal["rloo"]
    replies_per_prompt: GroupSize


@section
class FixedKl:
    """The KL coefficient stays what it is."""

    kind: Literal["fixed"]


@section
class ZieglerKl:
    """The KL coefficient moves so that the KL of a reply approaches `target` nats (arXiv:1909.08593)."""

    kind: Literal["ziegler"]
    target: Positive
    horizon: Count


@section
class SchulmanKl:
    """The KL coefficient is halved or doubled when the KL of a reply leaves the target's range (arXiv:1707.06347)."""

    kind: Literal["schulman"]
    target: Positive


@section
class CoefficientMix:
    """PPO-ptx: `value` times the pretraining loss is added (arXiv:2203.02155, equation 2); 0 for plain PPO."""

    kind: Literal["coefficient"]
    value: NonNegative


@section
class GradientRatioMix:
    """PPO-ptx with the coefficient at which the pretraining gradient is `value` times as long as the policy's."""

    kind: Literal["gradient_ratio"]
    value: Positive


@section
class Stops:
    """When a run is ended with the cause named: a KL budget, and how far figures may fall below the first rollout's."""

    kl_per_reply: Positive
    entropy_share: Fraction
    distinct_2_share: Fraction
    response_tokens_share: Fraction
    ended_share: Fraction


@section
class Ppo:
    """InstructGPT's reinforcement learning stage (arXiv:2203.02155, section 3.5 and appendix C.4)."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    weights: Weights
    algorithm: Annotated[ActorCritic | Grpo | Rloo, Field(discriminator="kind")]
    reward: Annotated[Any, Seam("components.rewards")]
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


def run(work: "Work[Ppo]") -> None:
    """The whole stage."""
    import torch

    from components.checkpoints import load_gpt, load_tokenizer, save_model
    from components.models.replies import load_prompts
    from components.rewards.source import RewardContext
    from components.rl.ppo import PpoModule
    from components.training.fit import fit

    params, start = work.section, work.read("policy")
    torch.manual_seed(work.seed)
    tokenizer, reference, longest = load_tokenizer(start), load_gpt(start), work.limits.max_prompt_tokens
    reward = params.reward.build(RewardContext(tokenizer, work.seed, reference, work.read, longest))
    prompts = reward.prompts() or load_prompts(work.read("prompts"), tokenizer, max_tokens=longest)
    module = PpoModule(work, tokenizer, prompts, reference, reward)
    fit(work, module, checkpoint_interval=params.checkpoint_interval, unit="iterations")
    work.metrics |= {"episodes": params.iterations * params.rollout_batch_size, "prompts": len(prompts)}
    save_model(work.path("model"), module.published, start / "tokenizer.json", precision=module.precision)
    work.tracker.register_model(work.path("model"))


STAGE = Stage(
    Ppo,
    run,
    reads={
        "policy": Kind.LANGUAGE_MODEL,
        "reward": Kind.SCALAR_MODEL,
        "reward_figures": Kind.FIGURES,
        "prompts": Kind.PROMPTS,
        "tokens": Kind.TOKENS,
        "demonstrations": Kind.DEMONSTRATIONS,
    },
    makes={"model": Kind.LANGUAGE_MODEL},
    shared={
        "seed": Seed,
        "compute": Compute,
        "generation": Generation,
        "limits.context_length": Limits,
        "limits.max_prompt_tokens": Limits,
    },
    curves={"history.csv": Curve("step", "rollout/score")},
)
