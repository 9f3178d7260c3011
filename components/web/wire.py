"""What may be asked: OpenAI's requests, read strictly. Unknown fields are ignored, known ones not offered refused."""

import json
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.losses.sampling import Sampling
from components.serving_input import Options
from components.web.errors import ApiError

DEPTH_LIMIT = 32
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LEAST_MASS = 1e-6  # of a nucleus: top_p 0 is the likeliest token, as in OpenAI's interface
_Body = TypeVar("_Body", bound=BaseModel)

# What the field may hold without asking for anything.
_UNASKED: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "text": ({}, {"format": {"type": "text"}}),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning": ({},),
    "reasoning_effort": ("none",),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "background": (False,),
    "conversation": (),
    "previous_response_id": (),
}


class Strict(BaseModel):
    """A request of the pages: nothing but its fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Asked(BaseModel):
    """What all requests share.

    Raises:
        ValueError: a field is asked for that is not offered.
    """

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)
    default_tokens: ClassVar[int] = Options().max_new_tokens

    model: Annotated[str, Field(min_length=1, max_length=200)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # not OpenAI's; 0 is off
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _offered(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping):
            for name, unasked in _UNASKED.items():
                if fields.get(name) is not None and fields[name] not in unasked:
                    raise ValueError(f"{name} is not offered here")
        return fields

    @property
    def sampling(self) -> Sampling:
        """How to draw; what is not said is as a registered version is served."""
        usual = Options()
        temperature = usual.temperature if self.temperature is None else self.temperature
        top_p = usual.top_p if self.top_p is None else max(self.top_p, _LEAST_MASS)
        return Sampling(temperature, usual.top_k if self.top_k is None else self.top_k, top_p)

    @property
    def drawing_seed(self) -> int:
        """The seed that was asked for, or another each time."""
        return secrets.randbits(63) if self.seed is None else self.seed % 2**64


class StreamOptions(BaseModel):
    """What a stream holds beside the reply."""

    include_usage: bool | None = None


class TextPart(BaseModel):
    """A part of a message's content; other kinds are not offered."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class ChatMessage(BaseModel):
    """A message; `developer` is what OpenAI calls the system message of its newer models."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=64)]

    @property
    def plain(self) -> dict[str, str]:
        """As the chat formats write it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


Stop = Annotated[str, Field(min_length=1, max_length=100)]
NewTokens = Annotated[int, Field(ge=1, lt=2**31)]


class Several(Asked):
    """What both completions share."""

    n: Annotated[int, Field(ge=1, le=8)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream_options: StreamOptions | None = None
    max_tokens: NewTokens | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts before which a reply ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with its counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(Several):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_completion_tokens: NewTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _best_are_of_logprobs(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is asked for without logprobs")
        return self

    @property
    def new_tokens(self) -> int:
        """At most."""
        return self.max_completion_tokens or self.max_tokens or self.default_tokens

    @property
    def best(self) -> int | None:
        """How many of the likeliest tokens to tell; None: no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(Several):
    """`POST /v1/completions`: a text that goes on."""

    default_tokens: ClassVar[int] = 16  # OpenAI's

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def text(self) -> str:
        """What the model goes on with."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    @property
    def new_tokens(self) -> int:
        """At most."""
        return self.max_tokens or self.default_tokens


class InputItem(ChatMessage):
    """A message of a response's input."""

    type: Literal["message"] | None = None


class ResponseRequest(Asked):
    """`POST /v1/responses`, of text and without memory."""

    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=1000)]
    instructions: str | None = None
    max_output_tokens: NewTokens | None = None
    metadata: dict[str, str] | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation."""
        told = [{"role": "user", "content": self.input}] if isinstance(self.input, str) else []
        told += [item.plain for item in self.input if isinstance(item, InputItem)]
        return [{"role": "system", "content": self.instructions}, *told] if self.instructions else told

    @property
    def new_tokens(self) -> int:
        """At most."""
        return self.max_output_tokens or self.default_tokens


def read(kind: type[_Body], body: bytes) -> _Body:
    """A request from its body.

    Raises:
        ApiError: 400, with all that is wrong.
    """
    fields = _json(body)
    if not isinstance(fields, dict):
        raise ApiError(400, "the body is no JSON object", code="invalid_json")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        places = [".".join(map(str, fault["loc"])) for fault in faults]
        said = [": ".join(filter(None, (at, fault["msg"]))) for at, fault in zip(places, faults, strict=True)]
        param = str(faults[0]["loc"][0]) if faults[0]["loc"] else next((n for n in _UNASKED if n in said[0]), None)
        raise ApiError(400, "; ".join(dict.fromkeys(said[:8])), param=param, code="invalid_value") from None


def _json(body: bytes) -> Any:
    try:
        text = body.decode()
        _check_depth(body)
        fields = json.loads(text, parse_constant=_refuse)
        if b"\\ud" in body.lower():
            json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiError(400, "a text holds half of a surrogate pair", code="invalid_text") from None
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    return fields


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= DEPTH_LIMIT:
        return
    depth = 0
    for bracket in re.findall(rb"[][{}]", _STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_LIMIT:
            raise ValueError(f"it is nested more than {DEPTH_LIMIT} deep")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
