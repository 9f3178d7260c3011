"""Reward: a scalar head on the SFT body, trained on rankings (InstructGPT, arXiv:2203.02155, equation 1).

All pairs of a prompt's replies are one batch element, with one forward pass a reply. Afterwards the head's bias is
set so that demonstrations score 0 on average. Writes `artifacts/reward/model/`, registered as `gpt-reward`.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.data.chat import ChatTokenizer
from components.data.order import epoch_rows
from components.data.records import Comparison, Demonstration, as_chat, read_records
from components.data.sequences import pack
from components.evaluation.intervals import bootstrap_mean
from components.losses.preference import RankingLoss, ranking_loss
from components.models.heads import ScalarGPT
from components.models.precision import autocast
from components.models.scoring import sequence_scores
from components.stages.fit import SupervisedModule, fit
from components.stages.runtime import Stage, run_stage

SFT = Path("artifacts/sft/model")
COMPARISONS = Path("artifacts/compare")
DEMONSTRATIONS = Path("artifacts/prepare/demonstrations/train.jsonl")
CALIBRATION_DEMONSTRATIONS = 256


@dataclass(frozen=True)
class EncodedComparison:
    """A prompt's ids, its replies' ids with the end marker, and their ranks."""

    prompt: list[int]
    replies: list[list[int]]
    ranks: tuple[int, ...]


def encode_reply(tokenizer: ChatTokenizer, reply: str, *, max_tokens: int) -> list[int]:
    """Ids of a reply and the end marker, max_tokens at most."""
    return [*tokenizer.encode_text(reply)[: max_tokens - 1], tokenizer.end]


def load_comparisons(path: Path, tokenizer: ChatTokenizer, stage: Stage) -> list[EncodedComparison]:
    """Read and encode a file of comparisons."""
    params = stage.params
    return [
        EncodedComparison(
            tokenizer.encode_prompt(as_chat(row.messages), max_tokens=params.prepare.max_prompt_tokens),
            [encode_reply(tokenizer, reply, max_tokens=params.generation.max_new_tokens) for reply in row.replies],
            row.ranks,
        )
        for row in read_records(path, Comparison)
    ]


class RewardModule(SupervisedModule):
    """Ranking over K replies a prompt."""

    def __init__(self, stage: Stage, model: ScalarGPT, data: list[EncodedComparison], pad_id: int) -> None:
        params = stage.params.reward
        self.batches_per_epoch = max(1, len(data) // params.prompts_per_batch)
        super().__init__(stage, model, params.optimizer, total_steps=params.epochs * self.batches_per_epoch)
        self.data, self.pad_id = data, pad_id
        self.note = ""

    def make_batch(self, step: int) -> list[int]:
        params = self.stage.params
        size = min(params.reward.prompts_per_batch, len(self.data))
        rows = epoch_rows(step, batch_size=size, num_rows=len(self.data), seed=params.seed)
        return rows[self.global_rank :: self.trainer.world_size]

    def ranking(self, batch: list[EncodedComparison]) -> RankingLoss:
        """Score every reply of the batch once and compare those of one prompt."""
        flat = [(c.prompt, reply) for c in batch for reply in c.replies]
        rows = pack([prompt for prompt, _ in flat], [reply for _, reply in flat], pad_id=self.pad_id).to(self.device)
        with autocast(self.stage.params.compute.precision, self.device):
            scores = sequence_scores(self.network, rows)  # type: ignore[arg-type]
        widest = max(len(c.replies) for c in batch)
        ranks = torch.zeros(len(batch), widest, dtype=torch.long, device=self.device)
        for index, comparison in enumerate(batch):
            ranks[index, : len(comparison.ranks)] = torch.tensor(comparison.ranks)
        table = torch.zeros(ranks.shape, device=self.device).masked_scatter(ranks > 0, scores)
        return ranking_loss(table, ranks)

    def train_on(self, batch: list[int], step: int) -> dict[str, float]:
        result = self.ranking([self.data[row] for row in batch])
        norm = self.minimise(result.loss)
        accuracy = float(result.correct / result.pairs.clamp(min=1))
        self.note = f"loss {result.loss.item():.3f}, pairs right {accuracy:.0%}"
        return {"train/loss": result.loss.item(), "train/pair_accuracy": accuracy, "train/gradient_norm": norm}


@torch.no_grad()
def pair_accuracy(module: RewardModule, data: list[EncodedComparison]) -> tuple[np.ndarray, np.ndarray]:
    """For each prompt, its rightly ordered pairs and its untied pairs."""
    results = [module.ranking([comparison]) for comparison in data]
    return np.array([int(r.correct) for r in results]), np.array([int(r.pairs) for r in results])


@torch.no_grad()
def calibrate_bias(module: RewardModule, tokenizer: ChatTokenizer) -> float:
    """Shift the head so that demonstrations score 0 on average (InstructGPT, section 3.5); the shift."""
    params = module.stage.params
    prompts, replies = [], []
    for demonstration in islice(read_records(DEMONSTRATIONS, Demonstration), CALIBRATION_DEMONSTRATIONS):
        chat = as_chat(demonstration.messages)
        answer = next(index for index, message in enumerate(chat) if message["role"] == "assistant")
        prompts.append(tokenizer.encode_prompt(chat[:answer], max_tokens=params.prepare.max_prompt_tokens))
        replies.append(encode_reply(tokenizer, chat[answer]["content"], max_tokens=params.generation.max_new_tokens))
    model: ScalarGPT = module.network  # type: ignore[assignment]
    with autocast(params.compute.precision, module.device):
        scores = sequence_scores(model, pack(prompts, replies, pad_id=tokenizer.pad).to(module.device))
    model.head.bias.sub_(scores.mean())
    return -float(scores.mean())


def reward(stage: Stage) -> None:
    """The whole stage."""
    params = stage.params
    torch.manual_seed(params.seed)
    sft, tokenizer = load_gpt(SFT), load_tokenizer(SFT)
    model = ScalarGPT(sft.config)
    model.body.load_state_dict(sft.state_dict())
    train, test = (load_comparisons(COMPARISONS / f"{split}.jsonl", tokenizer, stage) for split in ("train", "test"))
    module = RewardModule(stage, model, train, tokenizer.pad)
    fit(stage, module, checkpoint_interval=params.reward.checkpoint_interval)
    shift = calibrate_bias(module, tokenizer)
    correct, pairs = pair_accuracy(module, test)
    interval = bootstrap_mean(correct, pairs, seed=params.seed)
    stage.metrics |= {
        "steps": module.total_steps,
        "bias_shift": shift,
        "test": {
            "pair_accuracy": interval.mean,
            "pair_accuracy_low": interval.low,
            "pair_accuracy_high": interval.high,
            "pairs": int(pairs.sum()),
            "prompts": len(test),
        },
    }
    save_model(stage.path("model"), model, SFT / "tokenizer.json")
    stage.tracker.register_model(stage.path("model"))


if __name__ == "__main__":
    run_stage("reward", reward)
