"""Training a scalar head on rankings (InstructGPT, arXiv:2203.02155, equation 1), and making its scores comparable."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from components.checkpoints import load_gpt, save_model
from components.data.chat import ChatTokenizer
from components.data.comparisons import EncodedComparison, as_pairs, as_rows, encode_reply, rank_table
from components.data.order import epoch_rows
from components.data.records import Demonstration, as_chat, read_records
from components.data.sequences import pack
from components.evaluation.preferences import PairTable, pair_figures, pair_table
from components.losses.preference import RankingLoss, best_of_k_loss, pairwise_loss, ranking_loss
from components.models.adapters import trainable
from components.models.heads import ScalarGPT
from components.models.precision import autocast
from components.models.scoring import sequence_scores
from components.rates import Rates
from components.tracking import SilentTracker
from components.training.fit import SupervisedModule, fit
from components.work import Work

if TYPE_CHECKING:
    from components.stages.reward import Reward

CALIBRATION_DEMONSTRATIONS = 256
SCORED_TOGETHER = 16  # prompts


class RewardModule(SupervisedModule):
    """Ranking over K replies a prompt."""

    def __init__(self, stage: "Work[Reward]", model: ScalarGPT, data: list[EncodedComparison], pad_id: int) -> None:
        params = stage.section
        self.objective = params.objective
        self.data = as_pairs(data) if self.objective.kind == "pairwise" else data
        batches = max(1, len(self.data) // params.prompts_per_batch)
        super().__init__(stage, model, params.optimizer, total_steps=params.epochs * batches)
        self.pad_id = pad_id
        self.note = ""

    def rows(self, step: int) -> list[int]:
        size = min(self.stage.section.prompts_per_batch, len(self.data))
        return epoch_rows(step, batch_size=size, num_rows=len(self.data), seed=self.seed)

    def make_batch(self, step: int) -> list[int]:
        return self.share(self.rows(step))  # type: ignore[no-any-return]

    def score(self, comparisons: Sequence[EncodedComparison]) -> tuple[Tensor, Tensor]:
        """Scores and ranks of every reply, [B, K] each, from one forward pass a reply; rank 0 where there is none."""
        batch = as_rows(comparisons, pad_id=self.pad_id).to(self.device)
        with autocast(self.precision, self.device):
            scores = sequence_scores(self.network, batch)  # type: ignore[arg-type]
        ranks = rank_table(comparisons).to(self.device)
        return torch.zeros(ranks.shape, device=self.device).masked_scatter(ranks > 0, scores), ranks

    def loss(self, scores: Tensor, ranks: Tensor) -> RankingLoss:
        """The objective of the parameters, summed over this process's prompts or pairs over those of all processes."""
        if self.objective.kind == "ranking":
            return ranking_loss(scores, ranks, total=self.total)
        if self.objective.kind == "pairwise":
            return pairwise_loss(scores, ranks, margin=self.objective.margin, total=self.total)
        return best_of_k_loss(scores, ranks, total=self.total)

    def train_on(self, batch: list[int], step: int) -> dict[str, float]:
        chosen = [self.data[row] for row in batch]
        self.tokens = sum(comparison.tokens for comparison in chosen)
        result = self.loss(*self.score(chosen))
        norm = self.minimise(result.loss)
        loss = self.total(result.loss.detach()).item()
        accuracy = float(self.total(result.correct) / self.total(result.pairs).clamp(min=1))
        self.note = f"loss {loss:.3f}, pairs right {accuracy:.0%}"
        return {"train/loss": loss, "train/pair_accuracy": accuracy, "train/gradient_norm": norm}


@torch.no_grad()
def score_pairs(module: RewardModule, data: Sequence[EncodedComparison]) -> PairTable:
    """The untied pairs of held-out comparisons with the model's score differences."""
    scores: list[np.ndarray] = []
    for start in range(0, len(data), SCORED_TOGETHER):
        part = data[start : start + SCORED_TOGETHER]
        table = module.score(part)[0].cpu().numpy()
        scores += [row[: len(comparison.replies)] for row, comparison in zip(table, part, strict=True)]
    return pair_table(scores, [c.ranks for c in data], [c.words for c in data], [c.group for c in data])


@torch.no_grad()
def score_demonstrations(module: RewardModule, tokenizer: ChatTokenizer) -> Tensor:
    """Scores of the first demonstrations' first answers, [N]."""
    stage = module.stage
    prompts, replies = [], []
    for demonstration in islice(
        read_records(module.stage.read("demonstrations"), Demonstration), CALIBRATION_DEMONSTRATIONS
    ):
        chat = as_chat(demonstration.messages)
        answer = next(index for index, message in enumerate(chat) if message["role"] == "assistant")
        prompts.append(tokenizer.encode_prompt(chat[:answer], max_tokens=stage.limits.max_prompt_tokens))
        replies.append(encode_reply(tokenizer, chat[answer]["content"], max_tokens=stage.generation.max_new_tokens))
    with autocast(module.precision, module.device):
        return sequence_scores(module.network, pack(prompts, replies, pad_id=tokenizer.pad).to(module.device))  # type: ignore[arg-type]


@torch.no_grad()
def normalise(module: RewardModule, tokenizer: ChatTokenizer) -> dict[str, float]:
    """Shift the head so that demonstrations score 0 on average (InstructGPT, section 3.5).

    With `gain_and_bias` also scale it so that their standard deviation is 1 (Ziegler et al. 2019, section 2.1).
    """
    model: ScalarGPT = module.network  # type: ignore[assignment]
    scores = score_demonstrations(module, tokenizer)
    gain = 1.0
    if module.stage.section.normalisation == "gain_and_bias":
        gain = 1 / max(float(scores.std()), 1e-6)
        model.head.weight.mul_(gain)
        model.head.bias.mul_(gain)
    model.head.bias.sub_(gain * scores.mean())
    after = score_demonstrations(module, tokenizer)
    return {"gain": gain, "shift": -gain * float(scores.mean()), "mean": float(after.mean()), "std": float(after.std())}


def describe(stage: "Work[Reward]", train: PairTable, validation: PairTable) -> None:
    """Put accuracy and calibration of the finished model into the stage's metrics and files."""
    figures, curve = pair_figures(validation, seed=stage.seed)
    with stage.path("calibration.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["confidence", "accuracy", "pairs"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(curve)
    stage.metrics["train_sample"] = {"pair_accuracy": float(train.correct.mean())}
    stage.metrics["validation"] = figures


def train_on(
    stage: "Work[Reward]", data: list[EncodedComparison], tokenizer: ChatTokenizer
) -> tuple[RewardModule, ScalarGPT]:
    """A reward model of some comparisons."""
    torch.manual_seed(stage.seed)
    model = trainable(ScalarGPT.on(load_gpt(stage.read("base"))), stage.section.weights)
    module = RewardModule(stage, model, data, tokenizer.pad)
    fit(stage, module, checkpoint_interval=stage.section.checkpoint_interval)
    return module, model


def train_judge(stage: "Work[Reward]", data: list[EncodedComparison], tokenizer: ChatTokenizer) -> None:
    """The second model, with checkpoints of its own, whose curve nobody follows."""
    state, scratch = stage.state / "judge", stage.scratch / "judge"
    for folder in (state, scratch):
        folder.mkdir(exist_ok=True)
    silent = SilentTracker(stage.name, stage.pipeline, stage.tracker.tree, state=state)
    own = replace(stage, state=state, scratch=scratch, tracker=silent, metrics={}, rates=Rates())
    module, model = train_on(own, data, tokenizer)
    normalise(module, tokenizer)
    save_model(stage.path("judge"), model, stage.read("base") / "tokenizer.json", precision=module.precision)
