"""A weighted sum of other sources."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from components.rewards.source import RewardContext, RewardSource
from components.sections.base import section
from components.sections.seam import Seam

if TYPE_CHECKING:
    from torch import Tensor

    from components.data.sequences import SequenceBatch
    from components.models.replies import EncodedPrompt


class Mixture(RewardSource):
    """The sum of the parts' scores, each times its weight. The first part with a network or prompts lends them."""

    def __init__(self, parts: Sequence[tuple[float, RewardSource]]) -> None:
        self.parts = parts
        self.network = next((part.network for _, part in parts if part.network is not None), None)

    def prompts(self) -> "list[EncodedPrompt] | None":
        return next((found for _, part in self.parts if (found := part.prompts()) is not None), None)

    def score(self, prompts: "Sequence[EncodedPrompt]", batch: "SequenceBatch") -> "Tensor":
        first, *others = (weight * part.score(prompts, batch) for weight, part in self.parts)
        return sum(others, start=first)


@section
class Part:
    """One source of a mixture, and what its scores are multiplied by."""

    weight: float
    source: Annotated[Any, Seam("components.rewards", without="mixture")]


@section
class MixtureReward:
    """A weighted sum of other sources, as of a reward model and a rule (Sparrow, arXiv:2209.14375, section 2.5)."""

    kind: Literal["mixture"]
    parts: Annotated[tuple[Part, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _parts_can_be_added(self) -> "MixtureReward":
        kinds = [part.source.kind for part in self.parts]
        if kinds.count("verifier") > 1 or kinds.count("model") > 1:
            raise ValueError(
                "a mixture has one verifier, whose questions are the prompts, and one reward model at most"
            )
        return self

    def build(self, context: RewardContext) -> RewardSource:
        """Whatever its parts raise."""
        return Mixture([(part.weight, part.source.build(context)) for part in self.parts])


SECTION = MixtureReward
