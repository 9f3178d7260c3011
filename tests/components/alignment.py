"""A tiny alignment stage in a folder of its own: models, prompts, tokens and parameters that the real modules read."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from components import params as parameters
from components.checkpoints import load_gpt, save_model
from components.data.chat import ChatTokenizer
from components.data.records import Message, Prompt, write_records
from components.data.tokenizer import train_tokenizer
from components.data.tokens import TokenFileWriter
from components.models.config import GPTConfig
from components.models.heads import ScalarGPT
from components.models.replies import load_prompts
from components.models.transformer import GPT
from components.pipelines import open_pipeline
from components.rewards.model import LearnedReward
from components.rewards.source import RewardContext, RewardSource
from components.rl.ppo import PpoModule
from components.rl.rollout import Experience, compute_advantages
from components.tracking import SilentTracker
from components.work import Work
from tests.contracts.imports import ROOT
from tests.flows.repository import TINY, WORDS

QUICK = {
    "ppo.iterations": 2,
    "ppo.rollout_batch_size": 8,
    "ppo.minibatch_size": 8,
    "ppo.microbatch_size": 8,
    "ppo.inner_epochs": 1,
    "ppo.pretrain_batch_size": 2,
    "generation.max_new_tokens": 8,
    "limits.max_prompt_tokens": 16,
    "ppo.stops": dict.fromkeys(
        ("entropy_share", "distinct_2_share", "response_tokens_share", "ended_share"), 0.0
    ) | {"kl_per_reply": 1e6},
}  # fmt: skip


def steady(learning_rate: float) -> dict[str, object]:
    """AdamW at one rate, as the parameter file writes it."""
    return {
        "name": "adamw",
        "learning_rate": learning_rate,
        "matrix_learning_rate": 0.0,
        "weight_decay": 0.0,
        "gradient_clip": 1.0,
        "warmup_steps": 0,
        "decay": "constant",
        "decay_fraction": 0.0,
        "final_fraction": 1.0,
    }


def actor_critic(learning_rate: float = 0.001, **changes: object) -> dict[str, object]:
    """PPO's part of the parameters."""
    return {
        "kind": "ppo",
        "discount": 1.0,
        "gae_lambda": 0.95,
        "value_clip": 0.2,
        "value_warmup": 0,
        "value": steady(learning_rate),
        **changes,
    }


class Offline(PpoModule):
    """The stage's module without a Trainer, so that single updates can be looked at."""

    @property
    def device(self):
        return torch.device("cpu")

    def total(self, value):
        return value

    def largest(self, value):
        return value

    def share(self, rows):
        return rows

    def accumulate(self, loss):
        loss.backward()

    def optimizers(self):
        if not hasattr(self, "_optimizers"):
            self._optimizers = self.configure_optimizers()
        return self._optimizers

    def log_figures(self, figures):
        return

    def iterate(self):
        """One iteration; its figures."""
        step = int(self.step)
        figures = self.train_on(self.make_batch(step), step)
        self.step += 1
        return figures


def make_files(root: Path, *, width: int = 32) -> None:
    """Everything that the ppo stage reads, below a folder; weights are random but not tiny."""
    torch.manual_seed(0)
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=6)) + "." for _ in range(80)]
    prepared, models = root / "artifacts/prepare", root / "artifacts"
    prepared.mkdir(parents=True)
    train_tokenizer(texts, vocab_size=300).save(str(prepared / "tokenizer.json"))
    tokenizer = ChatTokenizer.load(prepared / "tokenizer.json")
    writer = TokenFileWriter(
        prepared / "tokens/train.json", vocab_size=tokenizer.vocab_size, endoftext=tokenizer.endoftext
    )
    writer.extend(texts, [tokenizer.encode_text(text) for text in texts])
    writer.close()
    prompts = [Prompt(id=f"c{i}:1", messages=(Message(role="user", content=text),)) for i, text in enumerate(texts)]
    (prepared / "prompts").mkdir()
    write_records(prepared / "prompts/ppo.jsonl", prompts)
    config = GPTConfig(tokenizer.vocab_size, 40, 2, width, 2)
    sft, reward = GPT(config), ScalarGPT(config)
    for model in (sft, reward.body):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    for folder, model in (("sft", sft), ("reward", reward)):
        (models / folder).mkdir()
        save_model(models / folder / "model", model, prepared / "tokenizer.json")
    metrics = {"demonstrations": {"mean": 0.0, "std": 1.0}}
    (models / "reward/metrics.json").write_text(json.dumps(metrics))


def make_stage(root: Path, stage: str = "ppo", **changes: object) -> Work[Any]:
    """A stage in the present folder; changes are `ppo__kl_coef=0.2` and the like."""
    tree = parameters.override(parameters.read_tree(ROOT / "params.yaml"), {**TINY, **QUICK})
    tree = parameters.override(tree, {key.replace("__", "."): value for key, value in changes.items()})
    pipeline = open_pipeline(root=ROOT)
    parameters.check(tree, pipeline, source="test")
    section, shared = parameters.of_node(tree, pipeline, stage)
    state = root / "state"
    state.mkdir(exist_ok=True)
    tracker = SilentTracker(stage, pipeline, tree, state=state, artifacts=root / "artifacts")
    return Work(stage, pipeline, section, shared, root / "artifacts" / stage, state, state, tracker)


def make_module(stage: Work[Any], reward: RewardSource | None = None, *, max_tokens: int = 16) -> Offline:
    """The module of a stage made by `make_stage`."""
    tokenizer = ChatTokenizer.load(Path("artifacts/prepare/tokenizer.json"))
    prompts = load_prompts(Path("artifacts/prepare/prompts/ppo.jsonl"), tokenizer, max_tokens=max_tokens)
    reference = load_gpt(Path("artifacts/sft/model"))
    source = reward or stage.section.reward.build(RewardContext(tokenizer, 0, reference, stage.read, max_tokens))
    assert reward is not None or isinstance(source, LearnedReward)
    module = Offline(stage, tokenizer, prompts, reference, source)
    module.on_fit_start()
    return module


ALGORITHMS = {
    "ppo": None,
    "grpo": {"kind": "grpo", "replies_per_prompt": 4},
    "rloo": {"kind": "rloo", "replies_per_prompt": 4},
}


def algorithm(name: str) -> dict[str, Any]:
    """The change of parameters that chooses an algorithm."""
    return {} if ALGORITHMS[name] is None else {"ppo__algorithm": ALGORITHMS[name]}


def experience_of(module: Offline) -> Experience:
    """A rollout of the first prompts, under a policy that has moved away from the reference and the sampler's."""
    batch = module.make_batch(0)
    group = module.stage.section.algorithm.replies_per_prompt
    prompts = [module.prompts[row] for _, row in batch for _ in range(group)]
    rollout = module.sample(prompts, list(range(len(prompts))), 0)
    torch.manual_seed(3)
    with torch.no_grad():
        for network in filter(None, (module.policy, module.value)):
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return compute_advantages(rollout, module.stage.section, kl_coef=0.1)


def updated(stage, experience=None, places=None, **changes):
    """Weights and figures after one update on an experience."""
    module = make_module(stage(**changes))
    own = experience_of(module)
    experience = own if experience is None else experience(own)
    figures = module.update(experience, places or list(range(8)), step=0)
    weights = {f"policy.{name}": w for name, w in module.policy.state_dict().items()}
    if module.value is not None:
        weights |= {f"value.{name}": w for name, w in module.value.state_dict().items()}
    return weights, figures
