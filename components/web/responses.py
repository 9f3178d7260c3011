"""`/v1/responses`: of text, without memory; nothing is stored."""

import json
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from components.web import prompts
from components.web.completions import GONE
from components.web.connection import ClientGone, EventStream, while_connected
from components.web.errors import ApiError
from components.web.service import Answer, Service
from components.web.wire import ResponseRequest, read


async def responses(http: Request) -> Response:
    """Reply to a conversation."""
    service: Service = http.app.state.service
    asked = read(ResponseRequest, await http.body())
    answer = await service.begin(
        asked.model, lambda loaded: prompts.of_chat(loaded, asked.messages, asked.new_tokens, "input"),
        asked.sampling, asked.drawing_seed,
    )  # fmt: skip
    form, headers = _Form(asked, answer), dict(answer.prompt.headers)
    if asked.stream:
        return EventStream(_events(form, answer), headers)
    try:
        (piece,) = await while_connected(http.receive, answer.whole())
    except ClientGone:
        return Response(status_code=GONE)
    finally:
        answer.close()
    return JSONResponse(form.whole(piece.text, piece.finish), headers=headers)


async def _events(form: "_Form", answer: Answer) -> AsyncGenerator[bytes, None]:
    text, finish = "", None
    try:
        yield form.opening()
        async for batch in answer.pieces():
            added = "".join(piece.text for piece in batch)
            finish = batch[-1].finish if batch else finish
            text += added
            if added:
                yield form.event("response.output_text.delta", **form.place, delta=added, logprobs=[])
        yield form.closing(text, finish)
    except ApiError as error:  # the status is sent already
        failed = form.whole(text, None) | {"status": "failed", "error": {"code": "server_error", "message": str(error)}}
        yield form.event("response.failed", response=failed)
    finally:
        answer.close()


class _Form:
    """How a response is written."""

    def __init__(self, asked: ResponseRequest, answer: Answer) -> None:
        self._asked, self._answer = asked, answer
        self._id, self._message = f"resp_{secrets.token_hex(16)}", f"msg_{secrets.token_hex(16)}"
        self._events = 0

    @property
    def place(self) -> dict[str, Any]:
        """Of the text within the response."""
        return {"item_id": self._message, "output_index": 0, "content_index": 0}

    def event(self, kind: str, **fields: Any) -> bytes:
        """A numbered event."""
        body = json.dumps({"type": kind, "sequence_number": self._events, **fields}, separators=(",", ":"))
        self._events += 1
        return f"event: {kind}\ndata: {body}\n\n".encode()

    def opening(self) -> bytes:
        """What comes before the first text."""
        begun, place = self._resource("in_progress", []), self.place
        part = _part("")
        return (
            self.event("response.created", response=begun)
            + self.event("response.in_progress", response=begun)
            + self.event("response.output_item.added", output_index=0, item=self._item("in_progress", []))
            + self.event("response.content_part.added", **place, part=part)
        )

    def closing(self, text: str, finish: str | None) -> bytes:
        """What comes after the last text."""
        whole, part = self.whole(text, finish), _part(text)
        kind = "response.completed" if finish == "stop" else "response.incomplete"
        return (
            self.event("response.output_text.done", **self.place, text=text, logprobs=[])
            + self.event("response.content_part.done", **self.place, part=part)
            + self.event("response.output_item.done", output_index=0, item=whole["output"][0])
            + self.event(kind, response=whole)
        )

    def whole(self, text: str, finish: str | None) -> dict[str, Any]:
        """The response with its text."""
        status = "completed" if finish == "stop" else "incomplete"
        read_tokens, drawn = len(self._answer.prompt.ids), self._answer.drawn
        return self._resource(status, [self._item(status, [_part(text)])]) | {
            "completed_at": int(time.time()) if finish == "stop" else None,
            "incomplete_details": None if finish == "stop" else {"reason": "max_output_tokens"},
            "usage": {
                "input_tokens": read_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": drawn,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read_tokens + drawn,
            },
        }

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._message, "type": "message", "status": status, "role": "assistant", "content": content,
        }  # fmt: skip

    def _resource(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        asked = self._asked
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._answer.created,
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": None,
            "model": self._answer.loaded.version,
            "output": output,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "background": False,
            "service_tier": "default",
            "temperature": asked.sampling.temperature,
            "top_p": asked.sampling.top_p,
            "top_logprobs": 0,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "auto",  # the oldest messages go where the context is full
            "usage": None,
            "metadata": asked.metadata or {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
