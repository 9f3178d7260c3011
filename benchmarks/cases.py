"""What is compared with whom, at which size, and what we want to reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Side

VOCABULARY = 4096
PRETRAIN_SIZES: Mapping[str, Mapping[str, int]] = {
    "4x256, T 128, B 64": {"layers": 4, "width": 256, "heads": 4, "context": 128, "batch": 64},
    "6x384, T 256, B 16": {"layers": 6, "width": 384, "heads": 6, "context": 256, "batch": 16},
}
TUNED: Mapping[str, int] = {"layers": 4, "width": 256, "heads": 4, "context": 128}
BOTH: Mapping[str, Mapping[str, str]] = {precision: {"precision": precision} for precision in ("fp32", "bf16")}
PACKINGS: Mapping[str, Mapping[str, Any]] = {
    f"{precision} {'packed' if packing else 'padded'}": {"precision": precision, "packing": packing}
    for precision in ("fp32", "bf16")
    for packing in (False, True)
}
SMALL_TEXT, LARGE_TEXT = 10, 1000  # megabytes


@dataclass(frozen=True)
class Goal:
    """Our rate is at least `minimum` times that of the fastest of the peer's settings named."""

    against: str
    settings: tuple[str, ...]
    minimum: float


@dataclass(frozen=True)
class Case:
    """One comparison: our side, the peer's settings, what the rate counts, and the goals."""

    name: str
    unit: str
    ours: Side
    peers: tuple[Side, ...]
    goals: tuple[Goal, ...]
    rounds: int = 3


def _settings(module: str, options: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]) -> tuple[Side, ...]:
    return tuple(Side(name, module, {**options, **changes}) for name, changes in variants.items())


def pretraining(checkout: Path | None) -> list[Case]:
    """Two sizes, against nanoGPT where its checkout is given, else against the Trainer of `transformers`."""
    variants = {
        f"{precision} {'compiled' if compiled else 'eager'}": {"precision": precision, "compile": compiled}
        for precision in ("fp32", "bf16")
        for compiled in (False, True)
    }
    peer, module = ("nanoGPT", "nanogpt") if checkout else ("transformers Trainer", "transformers_pretrain")
    cases = []
    for name, size in PRETRAIN_SIZES.items():
        options = {**size, "steps": 4, "optimizer": "adamw"}
        theirs = options | {"vocabulary": VOCABULARY} | ({"checkout": str(checkout.resolve())} if checkout else {})
        goals = (
            Goal(f"{peer} at its best", tuple(variants), 1.3),
            Goal(f"{peer} as it comes", ("fp32 eager",), 3.0),
        )
        ours = Side("ours", "ours_pretrain", options)
        cases.append(Case(f"pretraining {name}", "tokens/s", ours, _settings(module, theirs, variants), goals))
    return cases


def fine_tuning() -> list[Case]:
    """SFT on ragged chats, against TRL's SFTTrainer."""
    options = {**TUNED, "vocabulary": VOCABULARY, "steps": 4, "batch": 32}
    goals = (Goal("TRL at its best", tuple(PACKINGS), 2.0),)
    ours = Side("ours", "ours_sft", options)
    return [Case("SFT, ragged chats", "real tokens/s", ours, _settings("trl_sft", options, PACKINGS), goals)]


def reward_model() -> list[Case]:
    """Rankings of K replies, against TRL's RewardTrainer."""
    cases = []
    for replies, minimum in ((4, 2.0), (9, 4.0)):
        options = {**TUNED, "vocabulary": VOCABULARY, "steps": 4, "replies": replies}
        ours = Side("ours", "ours_reward", options | {"prompts": 8})
        # A step of theirs is as many pairs as ours at K = 4; at K = 9 so many would only be slower for the padding.
        theirs = _settings("trl_reward", options | {"batch": 48}, BOTH)
        goals = (Goal("TRL at its best", tuple(BOTH), minimum),)
        cases.append(Case(f"reward model, K = {replies}", "pairs/s", ours, theirs, goals))
    return cases


def ppo(faster: str) -> list[Case]:
    """Rollout and update of 64 episodes, against TRL 1.9.0's experimental PPOTrainer.

    faster: of fp32 and bf16 what the machine multiplies in faster; each has a goal of its own.
    """
    options = {**TUNED, "vocabulary": 2048, "prompt": 16, "reply": 48, "batch": 64, "inner_epochs": 4, "prompts": 512}
    options["steps"] = 2
    goals = (Goal("TRL at its best", tuple(BOTH), {"fp32": 1.6, "bf16": 2.0}[faster]),)
    return [Case("PPO", "episodes/s", Side("ours", "ours_ppo", options), _settings("trl_ppo", options, BOTH), goals)]


def generation(faster: str) -> list[Case]:
    """One prompt and 64 at a time, against `transformers.generate` with its cache; `faster` as in `ppo`."""
    cases = []
    for batch, steps, minimum in ((1, 4, {"fp32": 3.0, "bf16": 1.75}[faster]), (64, 2, 3.0)):
        options = {**TUNED, "vocabulary": VOCABULARY, "batch": batch, "prompt": 16, "new": 48, "steps": steps}
        cases.append(
            Case(
                f"generation, batch {batch}", "new tokens/s", Side("ours", "ours_generate", options),
                _settings("transformers_generate", options, BOTH),
                (Goal("transformers.generate at its best", tuple(BOTH), minimum),),
            )
        )  # fmt: skip
    return cases


def adopted(faster: str) -> list[Case]:
    """SmolLM2-135M-Instruct: decoding against `transformers`; adapters, by SFT and PPO, against TRL with `peft`.

    TRL's PPO in the precision that the machine is slower in takes minutes a round, and is left out.
    """
    cases = []
    for batch in (1, 32):
        options = {"batch": batch, "prompt": 24, "new": 24, "steps": 1, "vocabulary": 49152}
        theirs = _settings("transformers_generate", options | {"model": "smollm2/theirs"}, BOTH)
        ours = Side("ours", "ours_generate", options | {"model": "smollm2/ours"})
        goals = (Goal("transformers.generate at its best", tuple(BOTH), 2.0),)
        cases.append(Case(f"SmolLM2-135M, generation, batch {batch}", "new tokens/s", ours, theirs, goals))
    chats: Mapping[str, Any] = {"model": "smollm2", "context": 128, "batch": 8, "steps": 2}
    ours, goals = Side("ours", "ours_sft", chats), (Goal("TRL with peft at its best", tuple(PACKINGS), 1.3),)
    theirs = _settings("trl_sft", chats, PACKINGS)
    cases.append(Case("SmolLM2-135M, SFT of adapters", "real tokens/s", ours, theirs, goals))
    replies: Mapping[str, Any] = {"model": "smollm2", "context": 128, "prompt": 64, "reply": 24}
    replies = {**replies, "batch": 8, "inner_epochs": 2, "steps": 1}
    ours, goals = Side("ours", "ours_ppo", replies), (Goal("TRL with peft", (faster,), 1.3),)
    theirs = _settings("trl_ppo", replies, {faster: BOTH[faster]})
    return [*cases, Case("SmolLM2-135M, PPO of adapters", "episodes/s", ours, theirs, goals)]


def preparation() -> list[Case]:
    """From JSONL to token files, against `datasets.map` with `tokenizers`."""
    options = {"megabytes": SMALL_TEXT, "vocabulary": VOCABULARY}
    processes = {f"{count} process(es)": {"processes": count} for count in (1, 2)}
    return [
        Case(
            "prepare", "MB/s", Side("ours", "ours_prepare", options), _settings("datasets_prepare", options, processes),
            (Goal("datasets at its best", tuple(processes), 1.5),),
        )
    ]  # fmt: skip
