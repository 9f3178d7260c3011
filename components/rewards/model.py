"""The learned reward model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from components.rewards.source import RewardContext, RewardSource
from components.sections.base import section

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.sequences import SequenceBatch
    from components.models.heads import ScalarGPT
    from components.models.replies import EncodedPrompt


class LearnedReward(RewardSource):
    """The reward model."""

    def __init__(self, network: "ScalarGPT") -> None:
        self.network = network

    def score(self, prompts: "Sequence[EncodedPrompt]", batch: "SequenceBatch") -> "Tensor":
        import torch

        from components.models.scoring import sequence_scores

        assert self.network is not None
        with torch.no_grad():
            return sequence_scores(self.network, batch)


@section
class ModelReward:
    """The learned reward model: the stage's input `reward`."""

    kind: Literal["model"]

    def build(self, context: RewardContext) -> RewardSource:
        """Raises: CheckpointError: the input holds no reward model."""
        from components.checkpoints import load_scalar

        return LearnedReward(load_scalar(context.read("reward"), context.trunk))


SECTION = ModelReward
