"""What a reward source is: a function of prompts and replies."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from components.data.chat import ChatTokenizer
from components.data.sequences import SequenceBatch
from components.models.heads import ScalarGPT
from components.models.replies import EncodedPrompt


class RewardSource(ABC):
    """Scores replies; higher is better."""

    network: ScalarGPT | None = None
    """The frozen network behind it, if there is one."""

    @abstractmethod
    def score(self, prompts: Sequence[EncodedPrompt], batch: SequenceBatch) -> Tensor:
        """A score for each row of a batch, [B], the prompts being those of its rows."""


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
