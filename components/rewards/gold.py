"""The simulated labeler's own function, for studies of what a reward model costs."""

from typing import TYPE_CHECKING, Literal

from components.rewards.source import RewardContext, RewardSource, TextReward
from components.sections.base import section

if TYPE_CHECKING:
    from components.data.chat import ChatTokenizer
    from components.labeling.gold import Gold
    from components.models.replies import EncodedPrompt


class GoldFunction(TextReward):
    """The gold function."""

    def __init__(self, tokenizer: "ChatTokenizer", gold: "Gold") -> None:
        super().__init__(tokenizer)
        self.gold = gold

    def score_text(self, prompt: "EncodedPrompt", reply: str) -> float:
        return self.gold.score(prompt.user, reply)


@section
class GoldReward:
    """The gold function itself: for studies of what a reward model costs, never for a model that is compared."""

    kind: Literal["gold"]

    def build(self, context: RewardContext) -> RewardSource:
        """Made of the stage's input `demonstrations`."""
        from components.labeling.gold import Gold

        return GoldFunction(context.tokenizer, Gold.of_demonstrations(context.read("demonstrations")))


SECTION = GoldReward
