"""Where the score of a reply comes from: the learned reward model, the gold function, or a program that checks it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.checkpoints import load_scalar
from components.data.chat import ChatTokenizer
from components.data.records import Message
from components.data.sequences import SequenceBatch
from components.labeling.gold import Gold
from components.models.heads import ScalarGPT
from components.models.scoring import sequence_scores
from components.models.transformer import GPT
from components.schema_rl import GoldReward, ModelReward, VerifierReward
from components.stages.replies import EncodedPrompt


class RewardSource(ABC):
    """Scores replies; higher is better."""

    network: ScalarGPT | None = None
    """The frozen network behind it, if there is one."""

    @abstractmethod
    def score(self, prompts: Sequence[EncodedPrompt], batch: SequenceBatch) -> Tensor:
        """A score for each row of a batch, [B], the prompts being those of its rows."""


class LearnedReward(RewardSource):
    """The reward model."""

    def __init__(self, network: ScalarGPT) -> None:
        self.network = network

    @torch.no_grad()
    def score(self, prompts: Sequence[EncodedPrompt], batch: SequenceBatch) -> Tensor:
        assert self.network is not None
        return sequence_scores(self.network, batch)


class TextReward(RewardSource):
    """A source that reads a reply's text."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self.tokenizer = tokenizer

    @abstractmethod
    def score_text(self, prompt: EncodedPrompt, reply: str) -> float:
        """The score of one reply."""

    def score(self, prompts: Sequence[EncodedPrompt], batch: SequenceBatch) -> Tensor:
        rows = zip(prompts, batch.response_ids, batch.response_mask, strict=True)
        scores = [self.score_text(p, self.tokenizer.decode(ids[mask].tolist()).strip()) for p, ids, mask in rows]
        return torch.tensor(scores, device=batch.input_ids.device)


class GoldFunction(TextReward):
    """The gold function, for studies (see `components.schema_rl.GoldReward`)."""

    def __init__(self, tokenizer: ChatTokenizer, gold: Gold) -> None:
        super().__init__(tokenizer)
        self.gold = gold

    def score_text(self, prompt: EncodedPrompt, reply: str) -> float:
        return self.gold.score(prompt.user, reply)


class Verifier(TextReward):
    """A data set of `reasoning-gym`: its questions are the prompts, its `score_answer` is the reward, in [0, 1]."""

    def __init__(self, tokenizer: ChatTokenizer, dataset: Any) -> None:
        super().__init__(tokenizer)
        self.dataset = dataset

    def prompts(self, *, max_tokens: int) -> list[EncodedPrompt]:
        """The questions as prompts, in the data set's order."""
        result = []
        for number in range(len(self.dataset)):
            message = Message(role="user", content=self.dataset[number]["question"])
            chat = [{"role": message.role, "content": message.content}]
            ids = self.tokenizer.encode_prompt(chat, max_tokens=max_tokens)
            result.append(EncodedPrompt(str(number), (message,), ids))
        return result

    def score_text(self, prompt: EncodedPrompt, reply: str) -> float:
        return float(self.dataset.score_answer(reply, self.dataset[int(prompt.id)]))


def open_source(
    params: ModelReward | GoldReward | VerifierReward,
    tokenizer: ChatTokenizer,
    *,
    seed: int,
    trunk: GPT,
    model: Path,
    demonstrations: Path,
) -> RewardSource:
    """The reward source that the parameters name.

    Args:
        params: what kind of source, `ppo.reward`.
        tokenizer: of the policy.
        seed: of a verifier's questions.
        trunk: a reward model that was trained on it as adapters shares it.
        model: the reward model's folder.
        demonstrations: what the gold function is made of.

    Raises:
        ModuleNotFoundError: a verifier is asked for and the extra is not installed.
    """
    if isinstance(params, ModelReward):
        return LearnedReward(load_scalar(model, trunk))
    if isinstance(params, GoldReward):
        return GoldFunction(tokenizer, Gold.of_demonstrations(demonstrations))
    try:
        import reasoning_gym  # noqa: PLC0415 (an optional extra)
    except ModuleNotFoundError:
        raise ModuleNotFoundError("ppo.reward is `verifier`: pip install '.[verifier]' brings reasoning-gym") from None
    return Verifier(tokenizer, reasoning_gym.create_dataset(params.task, size=params.size, seed=seed))
