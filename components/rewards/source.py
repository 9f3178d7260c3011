"""What a reward source is: a function of prompts and replies."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.chat import ChatTokenizer
    from components.data.sequences import SequenceBatch
    from components.models.heads import ScalarGPT
    from components.models.replies import EncodedPrompt
    from components.models.transformer import GPT


@dataclass(frozen=True)
class RewardContext:
    """What a source may be built from.

    tokenizer: the policy's. seed: the stage's. trunk: a reward model that was trained on it as adapters shares it.
    read: where an input of the stage lies, by its name. max_prompt_tokens: of prompts that a source brings.
    """

    tokenizer: "ChatTokenizer"
    seed: int
    trunk: "GPT"
    read: Callable[[str], Path]
    max_prompt_tokens: int


class RewardSource(ABC):
    """Scores replies; higher is better."""

    network: "ScalarGPT | None" = None
    """The frozen network behind it, if there is one."""

    def prompts(self) -> "list[EncodedPrompt] | None":
        """The prompts that it alone can score, or None where any will do."""
        return None

    @abstractmethod
    def score(self, prompts: "Sequence[EncodedPrompt]", batch: "SequenceBatch") -> "Tensor":
        """A score for each row of a batch, [B], the prompts being those of its rows."""


class TextReward(RewardSource):
    """A source that reads a reply's text."""

    def __init__(self, tokenizer: "ChatTokenizer") -> None:
        self.tokenizer = tokenizer

    @abstractmethod
    def score_text(self, prompt: "EncodedPrompt", reply: str) -> float:
        """The score of one reply."""

    def score(self, prompts: "Sequence[EncodedPrompt]", batch: "SequenceBatch") -> "Tensor":
        import torch

        rows = zip(prompts, batch.response_ids, batch.response_mask, strict=True)
        scores = [self.score_text(p, self.tokenizer.decode(ids[mask].tolist()).strip()) for p, ids, mask in rows]
        return torch.tensor(scores, device=batch.input_ids.device)
