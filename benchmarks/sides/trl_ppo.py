"""PPO by TRL's PPOTrainer (trl.experimental.ppo), in episodes per second.

An iteration is a rollout of `batch` episodes, then an update with all of them at once per inner epoch. New models have
no stop token, so every reply has `reply` tokens whatever is sampled; an adopted one ends its replies, which the trainer
computes to their full length all the same. Of an adopted one, policy and value network train adapters of `peft`, and
the policy without them is the reference.

In bf16 only the updates are: TRL generates and scores outside of accelerate's autocast, in fp32. The trainer also
ignores its own `bf16` and takes the precision from the environment, as `accelerate launch` sets it.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.sides.trl_common import load_tokenizer, quieten, scoring_config, time_training, training_arguments

NUM_PROMPTS = 512


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """A round trains a new policy on prompts, or adapters of the model that `model` of the options names."""
    quieten()
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if options["precision"] == "bf16" else "no"
    adopted = folder / options["model"] if "model" in options else None
    tokenizer = AutoTokenizer.from_pretrained(adopted / "theirs") if adopted else load_tokenizer(folder)
    data = _asked(adopted / "prompts.json") if adopted else _drawn(options, tokenizer.pad_token_id)

    def build(output_dir: str) -> PPOTrainer:
        models = _adapted(adopted / "theirs", tokenizer) if adopted else _new(options, tokenizer)
        arguments = _arguments(output_dir, options, stop="eos" if adopted else None)
        return PPOTrainer(arguments, tokenizer, **models, train_dataset=data)

    return lambda: options["steps"] * options["batch"] / time_training(build).seconds


def _new(options: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    config = scoring_config(options, tokenizer)
    policy, reference = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    reference.load_state_dict(policy.state_dict())
    judge, critic = GPT2ForSequenceClassification(config), GPT2ForSequenceClassification(config)
    return {"model": policy, "ref_model": reference, "reward_model": judge, "value_model": critic}


def _adapted(source: Path, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    judge, critic = (
        AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype=torch.float32
        )
        for _ in range(2)
    )
    return {
        "model": AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
        "ref_model": None,
        "peft_config": _adapters("CAUSAL_LM"),
        "reward_model": judge,
        "value_model": get_peft_model(critic, _adapters("SEQ_CLS")),
    }


def _adapters(task: str) -> LoraConfig:
    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type=task)


def _arguments(output_dir: str, options: Mapping[str, Any], *, stop: str | None) -> PPOConfig:
    """One minibatch of all episodes; this trainer is told its length in episodes."""
    return PPOConfig(
        output_dir,
        **training_arguments(options),
        total_episodes=(options["steps"] + 1) * options["batch"],
        num_mini_batches=1,
        gradient_accumulation_steps=1,
        num_ppo_epochs=options["inner_epochs"],
        local_rollout_forward_batch_size=options["batch"],
        response_length=options["reply"],
        stop_token=stop,
        temperature=1.0,
        kl_coef=0.05,
        num_sample_generations=0,
    )


def _asked(path: Path) -> Dataset:
    return Dataset.from_dict({"input_ids": json.loads(path.read_text())})


def _drawn(options: Mapping[str, Any], pad_id: int) -> Dataset:
    """Random ids, none of them padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(options["vocabulary"] - 1, (NUM_PROMPTS, options["prompt"]), generator=generator)
    ids += ids >= pad_id
    return Dataset.from_dict({"input_ids": ids.tolist()})
