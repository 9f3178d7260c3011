"""Prompts cut from conversations, kept apart from demonstrations and from each other by what a model sees."""

import hashlib
from collections import Counter

import pandas as pd

from components.data.chat import ENCODED_TOGETHER, ChatTokenizer
from components.data.chat_format import Messages
from components.data.digests import hash_fraction
from components.data.records import Prompt, as_chat, as_message

USES = ("test", "validation", "ppo", "compare")  # in order of claim: a prompt found in two uses stays with the first


class PromptPool:
    """Collects demonstrations and prompts, then hands out prompts that occur in one place only.

    It holds all prompts, and a digest of what comes before each answer of a demonstration.
    """

    def __init__(self, tokenizer: ChatTokenizer, *, max_tokens: int, per_conversation: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.per_conversation = per_conversation
        self.demonstrated: set[bytes] = set()
        self.prompts: dict[str, dict[bytes, Prompt]] = {use: {} for use in USES}
        self.dropped: Counter[str] = Counter()

    def add(self, frame: pd.DataFrame) -> None:
        """Take in conversations: a frame with columns id, group, messages and role (`demonstrations` or a use)."""
        for number, (name, group, messages, role) in enumerate(
            zip(frame["id"], frame["group"], frame["messages"], frame["role"], strict=True)
        ):
            if number % ENCODED_TOGETHER == 0:
                part = frame["messages"].iloc[number : number + ENCODED_TOGETHER]
                self.tokenizer.remember([message for conversation in part for message in conversation])
            if role == "demonstrations":
                self.demonstrated.update(self._digest(self._recent(messages, end)) for end in _answers(messages))
            else:
                self._add_prompts(name, group, messages, role)

    def add_user_prompt(self, prompt: Prompt, use: str) -> None:
        """Take in a prompt that the user brought as one."""
        self._keep(self._digest(as_chat(prompt.messages)), prompt, use)

    def _add_prompts(self, name: str, group: str, messages: Messages, use: str) -> None:
        ends = sorted(_answers(messages), key=lambda end: hash_fraction(f"{name}:{end}", "cut"))
        for end in ends[: self.per_conversation]:
            recent = self._recent(messages, end)
            prompt = Prompt(id=f"{name}:{end}", messages=tuple(map(as_message, recent)), group=group)
            self._keep(self._digest(recent), prompt, use)

    def _keep(self, digest: bytes, prompt: Prompt, use: str) -> None:
        if self.prompts[use].setdefault(digest, prompt) is not prompt:
            self.dropped[f"{use} prompt twice"] += 1

    def _recent(self, messages: Messages, end: int) -> Messages:
        """The messages before `end` that can fit a prompt: the system message and the latest turns, a user's first."""
        system = [message for message in messages[:1] if message["role"] == "system"]
        turns = messages[len(system) : end]
        start = max(0, len(turns) - self.max_tokens // 2)  # a turn takes two tokens at least
        return [*system, *turns[start + (start % 2) :]]

    def resolve(self) -> dict[str, list[Prompt]]:
        """Disjoint prompts by use; what a demonstration or an earlier use holds is dropped and counted."""
        claimed = set(self.demonstrated)
        result = {}
        for use in USES:
            kept = {digest: prompt for digest, prompt in self.prompts[use].items() if digest not in claimed}
            self.dropped[f"{use} prompt also elsewhere"] += len(self.prompts[use]) - len(kept)
            claimed |= kept.keys()
            result[use] = sorted(kept.values(), key=lambda prompt: hash_fraction(prompt.id, "order"))
        return result

    def overlaps(self, prompts: dict[str, list[Prompt]]) -> dict[str, int]:
        """Prompts that two places share, counted anew from the prompts themselves; 0 everywhere if all is well."""
        digests = {"demonstrations": self.demonstrated}
        for use, found in prompts.items():
            digests[use] = {self._digest(as_chat(prompt.messages)) for prompt in found}
        names = list(digests)
        return {f"{a}/{b}": len(digests[a] & digests[b]) for i, a in enumerate(names) for b in names[i + 1 :]}

    def count_cut(self, prompts: list[Prompt]) -> int:
        """The number of prompts that lose words of the system message or of the last turn to the limit."""
        return sum(self.tokenizer.is_cut(as_chat(prompt.messages), max_tokens=self.max_tokens) for prompt in prompts)

    def _digest(self, messages: Messages) -> bytes:
        ids = self.tokenizer.encode_prompt(messages, max_tokens=self.max_tokens)
        return hashlib.sha256(str(ids).encode()).digest()[:16]


def _answers(messages: Messages) -> list[int]:
    """The places where the assistant answers, as the number of messages before each."""
    return [end for end, message in enumerate(messages) if message["role"] == "assistant"]
