"""The learned reward model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from components.data.sequences import SequenceBatch
from components.models.heads import ScalarGPT
from components.models.replies import EncodedPrompt
from components.models.scoring import sequence_scores
from components.rewards.source import RewardSource


class LearnedReward(RewardSource):
    """The reward model."""

    def __init__(self, network: ScalarGPT) -> None:
        self.network = network

    @torch.no_grad()
    def score(self, prompts: Sequence[EncodedPrompt], batch: SequenceBatch) -> Tensor:
        assert self.network is not None
        return sequence_scores(self.network, batch)
