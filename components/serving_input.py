"""What a registered model is asked with: chat messages and sampling options, their defaults and what is refused.

Free of torch, since the defaults are written into each registered version. Whoever talks to a model (the terminal chat,
pyfunc, its server) talks to it through these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")
COUNT_LIMIT = 2**31  # of tokens: more is a slip, and no tensor has as many places
FORM = 'expected chat messages: [{"role": "user", "content": "..."}], or a list of such lists'


class RequestError(ValueError):
    """A model is asked with something that it cannot answer; the message says what and what is right."""


@dataclass(frozen=True)
class Options:
    """How a served model samples. The defaults are `generation` of params.yaml: a model is served as gates judged it.

    Temperature 0 is greedy. Without a seed every request draws anew; with one the same request gets the same reply.

    Raises:
        RequestError: lists every value that is out of its range.
    """

    max_new_tokens: int = 40
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)!r}, not {right}"
            for name, right, holds in (
                ("max_new_tokens", "1 or more", _whole(self.max_new_tokens, 1, COUNT_LIMIT)),
                ("temperature", "0 (greedy) or more", _real(self.temperature) and self.temperature >= 0),
                ("top_k", "0 (off) or more", _whole(self.top_k, 0, COUNT_LIMIT)),
                ("top_p", "above 0 and at most 1 (off)", _real(self.top_p) and 0 < self.top_p <= 1),
                ("seed", "0 to 2**63 - 1, or left out", self.seed is None or _whole(self.seed, 0, 2**63)),
            )
            if not holds
        ]
        if wrong:
            raise RequestError("; ".join(wrong))

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "Options":
        """Options of a request, by name.

        Raises:
            RequestError: an unknown name, or values out of their ranges.
        """
        values = values or {}
        names = [field.name for field in fields(cls)]
        unknown = [str(name) for name in values if name not in names]
        if unknown:
            raise RequestError(f"no option {', '.join(unknown)}; there are {', '.join(names)}")
        return cls(**values)


def check_messages(messages: Any) -> list[dict[str, str]]:
    """A conversation as plain dicts: an optional system message, then user and assistant in turn.

    Raises:
        RequestError: it is none, is empty, or a message of it is not text that a model can read; lists every problem.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise RequestError(FORM)
    problems = [f"message {number}: {fault}" for number, m in enumerate(messages, 1) if (fault := _fault(m))]
    if not problems:
        turns = [m["role"] for m in messages][messages[0]["role"] == "system" :]
        problems = [
            f"the {role}'s message where the {due}'s is due: a system message or none, then user and assistant in turn"
            for role, due in zip(turns, ("user", "assistant") * len(turns), strict=False)
            if role != due
        ][:1]
    if problems:
        raise RequestError("; ".join(problems))
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def check_prompt(messages: Any) -> list[dict[str, str]]:
    """A conversation that waits for the assistant's reply.

    Raises:
        RequestError: as `check_messages`, or it does not end with the user's message.
    """
    checked = check_messages(messages)
    if checked[-1]["role"] != "user":
        raise RequestError(f"the last message is the {checked[-1]['role']}'s: a reply is to a user's")
    return checked


def text_fault(text: Any) -> str | None:
    """Why a model cannot read something as a message's text, or None if it can."""
    if not isinstance(text, str):
        return f"its content is a {type(text).__name__}, not text"
    if not text.strip():
        return "its content is empty"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "its content holds half of a surrogate pair, which is no character: it was not decoded as it was encoded"
    return None


def _fault(message: Any) -> str | None:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        return f"not a role and a content. {FORM}"
    if message["role"] not in ROLES:
        return f"no role {message['role']!r}; there are {', '.join(ROLES)}"
    return text_fault(message["content"])


def _whole(value: Any, low: int, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < limit


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
