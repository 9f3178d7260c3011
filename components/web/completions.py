"""`/v1/chat/completions` and `/v1/completions`."""

import json
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from components.data.chat import ChatTokenizer
from components.inference.draws import Likelihood
from components.web import prompts
from components.web.connection import ClientGone, EventStream, while_connected
from components.web.errors import ApiError
from components.web.service import Answer, Piece, Service
from components.web.wire import ChatRequest, CompletionRequest, Several, read

DONE = b"data: [DONE]\n\n"
GONE = 499  # as nginx logs it; nobody receives it
Token = tuple[int, Likelihood]


async def chat_completions(http: Request) -> Response:
    """Reply to a conversation."""
    service: Service = http.app.state.service
    asked = read(ChatRequest, await http.body())
    messages = [message.plain for message in asked.messages]
    answer = service.begin(
        asked.model, lambda loaded: prompts.of_chat(loaded, messages, asked.new_tokens), asked.sampling,
        asked.drawing_seed, choices=asked.n or 1, best=asked.best, stops=asked.stops,
    )  # fmt: skip
    return await respond(http, asked, await answer, Chat(asked))


async def completions(http: Request) -> Response:
    """Go on with a text."""
    service: Service = http.app.state.service
    asked = read(CompletionRequest, await http.body())
    answer = service.begin(
        asked.model, lambda loaded: prompts.of_text(loaded, asked.text, asked.new_tokens), asked.sampling,
        asked.drawing_seed, choices=asked.n or 1, best=asked.logprobs, stops=asked.stops, trim=False,
    )  # fmt: skip
    return await respond(http, asked, await answer, Text(asked))


async def respond(http: Request, asked: Several, answer: Answer, form: "Chat | Text") -> Response:
    """An answer as its client wants it, whole or as a stream."""
    headers = dict(answer.prompt.headers)
    if asked.stream:
        return EventStream(_events(asked, answer, form), headers)
    try:
        pieces = await while_connected(http.receive, answer.whole())
    except ClientGone:
        return Response(status_code=GONE)
    finally:
        answer.close()
    choices = [form.choice(piece, answer.loaded.tokenizer) for piece in pieces]
    return JSONResponse({**form.head(answer, form.whole), "choices": choices, "usage": _usage(answer)}, headers=headers)


async def _events(asked: Several, answer: Answer, form: "Chat | Text") -> AsyncGenerator[bytes, None]:
    """The events of a stream; what has come since the last time goes out at once."""
    head = form.head(answer, form.chunk) | ({"usage": None} if asked.with_usage else {})
    try:
        yield _frames({**head, "choices": [choice]} for choice in form.opening(asked.n or 1))
        async for batch in answer.pieces():
            deltas = (delta for piece in batch for delta in form.deltas(piece, answer.loaded.tokenizer))
            if frames := _frames({**head, "choices": [delta]} for delta in deltas):
                yield frames
        if asked.with_usage:
            yield _frames([{**head, "choices": [], "usage": _usage(answer)}])
        yield DONE
    except ApiError as error:  # the status is sent already
        yield _frames([error.body])
    finally:
        answer.close()


def _frames(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event, separators=(",", ":")).encode() for event in events)


def _usage(answer: Answer) -> dict[str, int]:
    read_tokens = len(answer.prompt.ids)
    return {
        "prompt_tokens": read_tokens,
        "completion_tokens": answer.drawn,
        "total_tokens": read_tokens + answer.drawn,
    }


class _Form:
    """What the two kinds of completion share."""

    prefix: str

    def __init__(self, asked: Several) -> None:
        self.id = f"{self.prefix}-{secrets.token_hex(12)}"

    def head(self, answer: Answer, kind: str) -> dict[str, Any]:
        """What stands beside the choices; the fingerprint is the SHA-256 of the weights."""
        return {
            "id": self.id,
            "object": kind,
            "created": answer.created,
            "model": answer.loaded.version,
            "system_fingerprint": answer.loaded.digest,
        }


class Chat(_Form):
    """How a chat completion is written."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, asked: ChatRequest) -> None:
        super().__init__(asked)
        self._logprobs = asked.best is not None

    def choice(self, piece: Piece, tokenizer: ChatTokenizer) -> dict[str, Any]:
        """A whole choice."""
        message: dict[str, Any] = {"role": "assistant", "content": piece.text, "refusal": None, "annotations": []}
        return {
            "index": piece.choice,
            "message": message,
            "logprobs": self._told(piece.tokens, tokenizer),
            "finish_reason": piece.finish,
        }

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return [self._delta(n, {"role": "assistant", "content": "", "refusal": None}) for n in range(choices)]

    def deltas(self, piece: Piece, tokenizer: ChatTokenizer) -> list[dict[str, Any]]:
        """What a piece adds to a stream."""
        told = self._told(piece.tokens, tokenizer) if piece.tokens else None
        found = [self._delta(piece.choice, {"content": piece.text}, told)] if piece.text or told else []
        return found if piece.finish is None else [*found, self._delta(piece.choice, {}, None, piece.finish)]

    @staticmethod
    def _delta(index: int, delta: dict[str, Any], told: Any = None, finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish}

    def _told(self, tokens: Sequence[Token], tokenizer: ChatTokenizer) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        content = [
            {
                **_named(token, likely.logprob, tokenizer),
                "top_logprobs": [_named(other, logprob, tokenizer) for other, logprob in likely.best],
            }
            for token, likely in tokens
        ]
        return {"content": content, "refusal": None}


def _named(token: int, logprob: float, tokenizer: ChatTokenizer) -> dict[str, Any]:
    text = _spelled(token, tokenizer)
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _spelled(token: int, tokenizer: ChatTokenizer) -> str:
    """A token's text by itself; a special one is written as its marker."""
    return str(tokenizer.tokenizer.decode([token], skip_special_tokens=False))


class Text(_Form):
    """How a completion of a text is written."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, asked: CompletionRequest) -> None:
        super().__init__(asked)
        self._logprobs = asked.logprobs is not None
        self._offsets = [0] * (asked.n or 1)

    def choice(self, piece: Piece, tokenizer: ChatTokenizer) -> dict[str, Any]:
        """A whole choice, or what a piece adds to it."""
        return {
            "index": piece.choice,
            "text": piece.text,
            "logprobs": self._told(piece, tokenizer),
            "finish_reason": piece.finish,
        }

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def deltas(self, piece: Piece, tokenizer: ChatTokenizer) -> list[dict[str, Any]]:
        """What a piece adds to a stream."""
        return [self.choice(piece, tokenizer)] if piece.text or piece.tokens or piece.finish else []

    def _told(self, piece: Piece, tokenizer: ChatTokenizer) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        names = [_spelled(token, tokenizer) for token, _ in piece.tokens]
        offsets = []
        for name in names:
            offsets.append(self._offsets[piece.choice])
            self._offsets[piece.choice] += len(name)
        return {
            "tokens": names,
            "token_logprobs": [likely.logprob for _, likely in piece.tokens],
            "top_logprobs": [{_spelled(o, tokenizer): p for o, p in likely.best} for _, likely in piece.tokens],
            "text_offset": offsets,
        }
