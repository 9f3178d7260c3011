"""Our PPO: episodes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides.ours_common import optimizer, train
from components.checkpoints import load_gpt, load_scalar, save_model
from components.data.chat import ChatTokenizer
from components.data.records import Message
from components.models.heads import ScalarGPT
from components.models.replies import EncodedPrompt
from components.models.sizes import config_for
from components.models.transformer import GPT
from components.rewards.model import LearnedReward
from components.rl.ppo import PpoModule

NO_STOPS = {"entropy_share": 0.0, "distinct_2_share": 0.0, "response_tokens_share": 0.0, "ended_share": 0.0}


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """`batch` episodes an iteration, one update of all of them an inner epoch, a value network of its own."""
    size = "{layers}x{width}x{heads}".format(**options)
    stage = stage_in(folder, "ppo", _values(options, size))
    chat = ChatTokenizer.load(folder / "ppo/tokenizer.json")
    torch.manual_seed(0)
    shape = config_for(size, vocab_size=chat.vocab_size, context_length=options["context"])
    policy, reward = GPT(shape), ScalarGPT.on(GPT(shape))
    start, judge = stage.read("policy"), stage.read("reward")
    save_model(start, policy, folder / "ppo/tokenizer.json")
    save_model(judge, reward, folder / "ppo/tokenizer.json")
    stage.read("reward_figures").write_text('{"demonstrations": {"mean": 0.0, "std": 1.0}}')
    draws = torch.randint(len(chat.special_ids), chat.vocab_size, (options["prompts"], options["prompt"]))
    message = (Message(role="user", content="?"),)
    prompts = [EncodedPrompt(str(row), message, ids) for row, ids in enumerate(draws.tolist())]
    module = PpoModule(stage, chat, prompts, load_gpt(start), LearnedReward(load_scalar(judge)))

    def run_round() -> float:
        steps, seconds = train(stage, module, options["steps"])
        return len(steps) * options["batch"] / seconds

    return run_round


def _values(options: dict[str, Any], size: str) -> dict[str, Any]:
    network = optimizer("adamw")
    algorithm = {"kind": "ppo", "discount": 1.0, "gae_lambda": 0.95, "value_clip": 0.2, "value_warmup": 0}
    return {
        "model.shape": size,
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
