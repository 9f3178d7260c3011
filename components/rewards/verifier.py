"""A program that checks answers to its own questions."""

from typing import Any

from components.data.chat import ChatTokenizer
from components.data.records import Message
from components.models.replies import EncodedPrompt
from components.rewards.source import TextReward


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
