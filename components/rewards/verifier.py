"""A program that checks answers to its own questions."""

from typing import TYPE_CHECKING, Any, Literal

from components.rewards.source import RewardContext, RewardSource, TextReward
from components.sections.base import Count, section

if TYPE_CHECKING:
    from components.data.chat import ChatTokenizer
    from components.models.replies import EncodedPrompt


class Verifier(TextReward):
    """A data set of `reasoning-gym`: its questions are the prompts, its `score_answer` is the reward, in [0, 1]."""

    def __init__(self, tokenizer: "ChatTokenizer", dataset: Any, *, max_prompt_tokens: int) -> None:
        super().__init__(tokenizer)
        self.dataset, self.max_prompt_tokens = dataset, max_prompt_tokens

    def prompts(self) -> "list[EncodedPrompt]":
        """The questions as prompts, in the data set's order."""
        from components.data.records import Message
        from components.models.replies import EncodedPrompt

        result = []
        for number in range(len(self.dataset)):
            message = Message(role="user", content=self.dataset[number]["question"])
            chat = [{"role": message.role, "content": message.content}]
            ids = self.tokenizer.encode_prompt(chat, max_tokens=self.max_prompt_tokens)
            result.append(EncodedPrompt(str(number), (message,), ids))
        return result

    def score_text(self, prompt: "EncodedPrompt", reply: str) -> float:
        return float(self.dataset.score_answer(reply, self.dataset[int(prompt.id)]))


@section
class VerifierReward:
    """Tasks with answers that a program checks, made by the optional `reasoning-gym` (`pip install .[verifier]`)."""

    kind: Literal["verifier"]
    task: str
    questions: Count

    def build(self, context: RewardContext) -> RewardSource:
        """Raises: ModuleNotFoundError: the extra is not installed."""
        try:
            import reasoning_gym
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "ppo.reward is `verifier`: pip install '.[verifier]' brings reasoning-gym"
            ) from None
        questions = reasoning_gym.create_dataset(self.task, size=self.questions, seed=context.seed)
        return Verifier(context.tokenizer, questions, max_prompt_tokens=context.max_prompt_tokens)


SECTION = VerifierReward
