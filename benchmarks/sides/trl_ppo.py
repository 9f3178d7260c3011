"""PPO by TRL's PPOTrainer (trl.experimental.ppo), in episodes per second.

An iteration is a rollout of `batch` episodes, then an update with all of them at once per inner epoch. There is no stop
token, so every reply has `reply` tokens whatever is sampled.

In bf16 only the updates are: TRL generates and scores outside of accelerate's autocast, in fp32. The trainer also
ignores its own `bf16` and takes the precision from the environment, as `accelerate launch` sets it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.sides.trl_common import load_tokenizer, quieten, scoring_config, time_training, training_arguments

NUM_PROMPTS = 512


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """Draw prompts; a round trains a new policy on them."""
    quieten()
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if options["precision"] == "bf16" else "no"
    tokenizer = load_tokenizer(folder)
    config, data = scoring_config(options, tokenizer), _prompts(options, tokenizer.pad_token_id)

    def build(output_dir: str) -> PPOTrainer:
        policy, reference = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
        reference.load_state_dict(policy.state_dict())
        return PPOTrainer(
            _arguments(output_dir, options),
            tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=GPT2ForSequenceClassification(config),
            value_model=GPT2ForSequenceClassification(config),
            train_dataset=data,
        )

    return lambda: options["steps"] * options["batch"] / time_training(build).seconds


def _arguments(output_dir: str, options: Mapping[str, Any]) -> PPOConfig:
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
        temperature=1.0,
        kl_coef=0.05,
        num_sample_generations=0,
    )


def _prompts(options: Mapping[str, Any], pad_id: int) -> Dataset:
    """Random ids, none of them padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(options["vocabulary"] - 1, (NUM_PROMPTS, options["prompt"]), generator=generator)
    ids += ids >= pad_id
    return Dataset.from_dict({"input_ids": ids.tolist()})
