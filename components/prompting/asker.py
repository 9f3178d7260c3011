"""Asking a language model, and counting what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from components.data.records import Message, as_chat
from components.evaluation.text_scorer import TextScorer
from components.evaluation.wording import before
from components.losses.sampling import Sampling
from components.models.generation import rows_at_once, sample_replies, uniforms
from components.models.inference import for_sampling
from components.models.precision import autocast

READ_AT_ONCE = 8192  # tokens of prompts: attention to long ones takes memory by their squares


@dataclass
class Cost:
    """What was asked: calls, and tokens read and written; `cut` calls lost the beginning of their prompt."""

    calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cut: int = 0


@dataclass(frozen=True)
class Asker:
    """A model that is asked in text: as a user in its chat format, or for how the text goes on.

    What is drawn depends on the seed, the number of calls before and a prompt's place among the others. At temperature
    0 the likeliest token is taken.
    """

    scorer: TextScorer
    chat: bool
    context_length: int  # tokens of a prompt and its reply
    seed: int = 0
    temperature: float = 0.0
    cost: Cost = field(default_factory=Cost)

    def drawing(self, temperature: float, seed: int) -> "Asker":
        """The same at another temperature, at the same cost."""
        return replace(self, temperature=temperature, seed=seed)

    def ask(self, prompts: Sequence[str], *, tokens: int, stops: Sequence[str] = ()) -> list[str]:
        """What the model says to each, up to so many tokens and to the first of the stops.

        Raises:
            ValueError: so many tokens leave no room for a prompt at all.
        """
        if not prompts:
            return []
        tokenizer, model = self.scorer.tokenizer, self.scorer.model
        room = self.context_length - tokens
        if room < 1:
            raise ValueError(f"{tokens} new tokens leave no room in a context of {self.context_length}")
        ids = [self._ids(prompt, room) for prompt in prompts]
        longest = max(map(len, ids))
        together = min(rows_at_once(model, longest + tokens), READ_AT_ONCE // longest)
        with autocast(self.scorer.precision, self.scorer.device):
            replies = sample_replies(
                for_sampling(model, rows=min(len(ids), together), steps=tokens),
                ids,
                sampling=Sampling(self.temperature),
                uniform=uniforms(len(ids), tokens, seed=(self.seed, self.cost.calls)),
                end_id=tokenizer.end if self.chat else tokenizer.endoftext,
                pad_id=tokenizer.pad,
                slots=max(1, together),
            )
        self.cost.calls += len(ids)
        self.cost.prompt_tokens += sum(map(len, ids))
        self.cost.reply_tokens += int(replies.response_mask.sum())
        rows = zip(replies.response_ids, replies.response_mask, strict=True)
        # Blank lines before the first word end nothing.
        return [before(tokenizer.decode(row[mask].tolist()).lstrip(), stops).strip() for row, mask in rows]

    def _ids(self, prompt: str, room: int) -> list[int]:
        tokenizer = self.scorer.tokenizer
        if self.chat:
            chat = as_chat((Message(role="user", content=prompt),))
            whole = len(tokenizer.encode_prompt(chat, max_tokens=2**31))
            self.cost.cut += whole > room
            return tokenizer.encode_prompt(chat, max_tokens=room)
        ids = tokenizer.encode_text(prompt) or [tokenizer.endoftext]
        self.cost.cut += len(ids) > room
        return ids[-room:]
