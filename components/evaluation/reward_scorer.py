"""A reward model asked about replies that somebody wrote."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from components.data.chat import ChatTokenizer
from components.data.comparisons import encode_reply
from components.data.records import Message, as_chat
from components.data.sequences import pack
from components.models.heads import ScalarGPT
from components.models.precision import autocast
from components.models.scoring import sequence_scores


@dataclass(frozen=True)
class RewardScorer:
    """A reward model with its tokenizer."""

    model: ScalarGPT
    tokenizer: ChatTokenizer
    precision: str = "32-true"
    batch_size: int = 32

    @torch.no_grad()
    def scores(self, asked: Sequence[tuple[Sequence[Message], Sequence[str]]]) -> list[list[float]]:
        """The score of each reply to each conversation.

        A reply longer than half of the context loses its end, a conversation what does not fit before its longest
        reply, oldest turns first; all replies to one conversation see the same of it.
        """
        prompts, replies = [], []
        for messages, texts in asked:
            half = self.model.body.config.context_length // 2
            own = [encode_reply(self.tokenizer, text, max_tokens=half) for text in texts]
            room = self.model.body.config.context_length - max(map(len, own))
            prompts += [self.tokenizer.encode_prompt(as_chat(messages), max_tokens=room)] * len(own)
            replies += own
        found: list[float] = []
        device = next(self.model.parameters()).device
        for start in range(0, len(prompts), self.batch_size):
            part = slice(start, start + self.batch_size)
            batch = pack(prompts[part], replies[part], pad_id=self.tokenizer.pad).to(device)
            with autocast(self.precision, device):
                found += sequence_scores(self.model, batch).tolist()
        scores = iter(found)
        return [[next(scores) for _ in texts] for _, texts in asked]
