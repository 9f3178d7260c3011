"""The simulated labeler's own function, for studies of what a reward model costs."""

from components.data.chat import ChatTokenizer
from components.labeling.gold import Gold
from components.models.replies import EncodedPrompt
from components.rewards.source import TextReward


class GoldFunction(TextReward):
    """The gold function, for studies (see `components.schema_rl.GoldReward`)."""

    def __init__(self, tokenizer: ChatTokenizer, gold: Gold) -> None:
        super().__init__(tokenizer)
        self.gold = gold

    def score_text(self, prompt: EncodedPrompt, reply: str) -> float:
        return self.gold.score(prompt.user, reply)
