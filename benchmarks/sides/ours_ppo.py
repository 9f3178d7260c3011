"""Our PPO: episodes a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides.ours_common import LORA, optimizer, train
from components.checkpoints import load_gpt, load_scalar, load_tokenizer, save_model
from components.data.chat import ChatTokenizer
from components.data.records import Message
from components.models.adapters import trainable
from components.models.heads import ScalarGPT
from components.models.replies import EncodedPrompt
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.rewards.model import LearnedReward
from components.rl.ppo import PpoModule
from components.work import Work

NO_STOPS = {"entropy_share": 0.0, "distinct_2_share": 0.0, "response_tokens_share": 0.0, "ended_share": 0.0}


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`batch` episodes an iteration, one update of all of them an inner epoch, a value network of its own.

    `model` of the options has a model and its prompts, and adapters of it train; without it a GPT-2 is asked at random.
    """
    stage = stage_in(folder, "ppo", _values(options))
    judged = stage.read("reward_figures")
    judged.parent.mkdir(parents=True, exist_ok=True)
    judged.write_text('{"demonstrations": {"mean": 0.0, "std": 1.0}}')
    torch.manual_seed(0)
    module = _adapted(stage, folder / options["model"]) if "model" in options else _new(stage, folder, options)

    def run_round() -> float:
        steps, seconds = train(stage, module, options["steps"])
        return len(steps) * options["batch"] / seconds

    return run_round


def _new(stage: Work[Any], folder: Path, options: dict[str, Any]) -> PpoModule:
    chat = ChatTokenizer.load(folder / "ppo/tokenizer.json")
    shape = config_for(_size(options), vocab_size=chat.vocab_size, context_length=options["context"])
    policy, reward = GPT(shape), ScalarGPT.on(GPT(shape))
    start, judge = stage.read("policy"), stage.read("reward")
    save_model(start, policy, folder / "ppo/tokenizer.json")
    save_model(judge, reward, folder / "ppo/tokenizer.json")
    draws = torch.randint(len(chat.special_ids), chat.vocab_size, (options["prompts"], options["prompt"]))
    return PpoModule(stage, chat, _prompts(draws.tolist()), load_gpt(start), LearnedReward(load_scalar(judge)))


def _adapted(stage: Work[Any], place: Path) -> PpoModule:
    """Policy, reference, reward and value network on one trunk."""
    trunk = load_gpt(place / "ours").requires_grad_(False)
    judge = trainable(ScalarGPT.on(trunk), stage.section.weights).requires_grad_(False)
    prompts = _prompts(json.loads((place / "prompts.json").read_text()))
    return PpoModule(stage, load_tokenizer(place / "ours"), prompts, trunk, LearnedReward(judge))


def _prompts(ids: list[list[int]]) -> list[EncodedPrompt]:
    message = (Message(role="user", content="?"),)
    return [EncodedPrompt(str(row), message, each) for row, each in enumerate(ids)]


def _size(options: dict[str, Any]) -> str:
    return "{layers}x{width}x{heads}".format(**options) if "layers" in options else "4x128x2"


def _values(options: dict[str, Any]) -> dict[str, Any]:
    network = optimizer("adamw")
    algorithm = {"kind": "ppo", "discount": 1.0, "gae_lambda": 0.95, "value_clip": 0.2, "value_warmup": 0}
    return {
        "model.shape": _size(options),
        "ppo.weights": LORA if "model" in options else {"kind": "full"},
        "limits.max_prompt_tokens": options["prompt"],
        "generation.max_new_tokens": options["reply"],
        "compute.precision": options.get("precision", "auto"),
        "ppo.rollout_batch_size": options["batch"],
        "ppo.minibatch_size": options["batch"],
        "ppo.microbatch_size": options["batch"],
        "ppo.inner_epochs": options["inner_epochs"],
        "ppo.pretraining_mix": {"kind": "coefficient", "value": 0.0},
        "ppo.stops": NO_STOPS | {"kl_per_reply": 1e9},
        "ppo.algorithm": algorithm | {"value": network},
        "ppo.policy": network,
    }
