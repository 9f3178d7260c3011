"""The chat template: conversations as token ids, with a mask over what the assistant says.

    <|user|> text <|assistant|> text <|end|> <|user|> text <|assistant|> ...

Each marker is one special token. Message text is always encoded as ordinary text, so a user who types a
marker gets its letters, never its token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

ENDOFTEXT = "<|endoftext|>"
PAD = "<|pad|>"
END = "<|end|>"
ROLE_MARKERS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = (ENDOFTEXT, PAD, END, *ROLE_MARKERS.values())

TURNS_KEPT = 10_000
ENCODED_TOGETHER = 200  # conversations

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class EncodedChat:
    """Token ids of a conversation and, for each, whether the assistant must learn to say it."""

    input_ids: list[int]
    loss_mask: list[bool]


class ChatTokenizer:
    """A byte-level BPE with the special tokens of the chat template."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        ids: dict[str, int | None] = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        known = {token: number for token, number in ids.items() if number is not None}
        if len(known) < len(ids):
            raise ValueError(f"the tokenizer lacks the special tokens {', '.join(ids.keys() - known.keys())}")
        tokenizer.encode_special_tokens = True  # markers inside text are text: no prompt can forge a role
        self.tokenizer = tokenizer
        self.endoftext, self.pad, self.end = (known[token] for token in (ENDOFTEXT, PAD, END))
        self.role_ids = {role: known[marker] for role, marker in ROLE_MARKERS.items()}
        self.special_ids = frozenset(known.values())
        self._turns: dict[tuple[str, str], list[int]] = {}

    @classmethod
    def load(cls, path: Path) -> "ChatTokenizer":
        """Read a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)))

    @property
    def vocab_size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; never a special token."""
        return list(self.tokenizer.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.tokenizer.decode([i for i in ids if i not in self.special_ids]))

    def encode_chat(self, messages: Messages) -> EncodedChat:
        """Encode a whole conversation; the loss covers each assistant text and the end marker after it."""
        ids: list[int] = []
        mask: list[bool] = []
        for message in messages:
            turn = self._turn_ids(message["role"], message["content"])
            ids += turn
            mask += [False] + [message["role"] == "assistant"] * (len(turn) - 1)
        return EncodedChat(ids, mask)

    def _framed(self, role: str, text: list[int]) -> list[int]:
        """The ids of a message whose text has these."""
        return [self.role_ids[role], *text, *([self.end] if role == "assistant" else [])]

    def remember(self, messages: Messages) -> None:
        """Encode messages together, over all cores, for the chats and prompts that will be made of them."""
        keys = list(dict.fromkeys((message["role"], message["content"]) for message in messages))
        encodings = self.tokenizer.encode_batch_fast([content for _, content in keys])
        self._turns = {key: self._framed(key[0], e.ids) for key, e in zip(keys, encodings, strict=True)}

    def _turn_ids(self, role: str, content: str) -> list[int]:
        """Ids of one message; kept, since every place where the assistant answers sees the turns before it again."""
        key = (role, content)
        if key not in self._turns:
            if len(self._turns) >= TURNS_KEPT:
                self._turns.clear()
            self._turns[key] = self._framed(role, self.encode_text(content))
        return self._turns[key]

    def encode_prompt(self, messages: Messages, *, max_tokens: int) -> list[int]:
        """Encode a conversation up to the point where the assistant speaks, within max_tokens.

        Older turns go first, whole. Where the system message and the last turn alone are too long, the last turn loses
        its beginning, so that what the user said last is kept; before that, a system message loses its end until it
        fills no more than half of the room, or what the last turn leaves free.
        """
        system, last = self._ends(messages)
        cue = [self.role_ids["assistant"]]
        room = max_tokens - len(cue)
        if len(system) + len(last) > room:
            system = system[: max(room // 2, room - len(last))]
            last = last[:1] + _last(last, room - len(system) - 1)
            return (system if len(system) > 1 else []) + (last if len(last) > 1 else []) + cue
        kept = last
        for message in reversed(messages[bool(system) : -1]):
            turn = self._turn_ids(message["role"], message["content"])
            if len(system) + len(turn) + len(kept) > room:
                break
            kept = turn + kept
        return system + kept + cue

    def is_cut(self, messages: Messages, *, max_tokens: int) -> bool:
        """Whether `encode_prompt` takes words from the system message or from the last turn."""
        system, last = self._ends(messages)
        return len(system) + len(last) + 1 > max_tokens

    def _ends(self, messages: Messages) -> tuple[list[int], list[int]]:
        """Ids of the system message and of the last turn, none for what is not there."""
        opens = bool(messages) and messages[0]["role"] == "system"
        ends = messages[:1] if opens else [], messages[int(opens) :][-1:]
        system, last = ([i for m in part for i in self._turn_ids(m["role"], m["content"])] for part in ends)
        return system, last


def _last(ids: list[int], count: int) -> list[int]:
    return ids[len(ids) - count :] if count > 0 else []
