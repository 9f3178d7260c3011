"""What ends a PPO run before or while it trains."""

import math
from dataclasses import replace

import pytest
import torch

from components.losses.sampling import Sampling
from components.models.scoring import response_logprobs
from components.rl.safeguards import PreflightFailed, TrainingStopped, check_rollout, preflight
from components.stages.ppo import Stops
from tests.components.alignment import make_module


def test_preflight_names_what_is_wrong(stage):
    module = make_module(stage())
    rollout = module.sample(module.prompts[:4], [0, 1, 2, 3], 0)
    again = response_logprobs(module.policy, rollout.batch, Sampling())
    preflight(rollout, again, clip_ratio=0.2, demonstrations={"mean": 0.0, "std": 1.0})
    hot = response_logprobs(module.policy, rollout.batch, Sampling(0.7))
    with pytest.raises(PreflightFailed, match="another temperature"):
        preflight(rollout, hot, clip_ratio=0.2, demonstrations={})
    with pytest.raises(PreflightFailed, match="bias was not set"):
        preflight(rollout, again, clip_ratio=0.2, demonstrations={"mean": 1.3, "std": 1.0})
    with pytest.raises(PreflightFailed, match="a score is not finite"):
        broken = replace(rollout, raw_scores=torch.tensor([1.0, math.nan, 0.0, 0.0]))
        preflight(broken, again, clip_ratio=0.2, demonstrations={})
    with torch.no_grad():
        module.policy.final_norm.bias.add_(0.5)
    with pytest.raises(PreflightFailed, match=r"KL\(policy, reference\)"):
        moved = module.sample(module.prompts[:4], [0, 1, 2, 3], 0)
        preflight(moved, again, clip_ratio=0.2, demonstrations={})


START = {"rollout/kl_per_reply": 0.0, "rollout/entropy": 4.0, "rollout/distinct_2": 0.8,
         "rollout/response_tokens": 12.0, "rollout/ended_share": 0.9}  # fmt: skip
STOPS = Stops(kl_per_reply=30.0, entropy_share=0.1, distinct_2_share=0.2, response_tokens_share=0.2, ended_share=0.5)


@pytest.mark.parametrize(("figure", "value", "words"), [
    ("kl_per_reply", 31.0, "KL budget"),
    ("kl_per_reply", math.nan, "KL budget"),
    ("entropy", 0.3, "entropy_share"),
    ("distinct_2", 0.1, "distinct_2_share"),
    ("response_tokens", 1.0, "response_tokens_share"),
    ("ended_share", 0.4, "ended_share"),
])  # fmt: skip
def test_stop_rules_name_themselves(figure, value, words):
    check_rollout(START, START, STOPS)
    with pytest.raises(TrainingStopped, match=words):
        check_rollout({**START, f"rollout/{figure}": value}, START, STOPS)
