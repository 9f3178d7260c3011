"""What comes before every route: whose request it is, how large and how slow it may be. Pure ASGI.

It answers by itself what is refused, so that no route sees it. No CORS header is ever sent.
"""

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.web.errors import ApiError

logger = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
PRIVATE = ("/v1/", "/metrics")  # what a token is needed for; the pages themselves hold nothing
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@]+)(?::\d{1,5})?")


@dataclass(frozen=True)
class Limits:
    """How much and how long a client may take. Seconds: for the body, for taking what is sent, for all of it."""

    body_bytes: int = 256 * 1024
    body_seconds: float = 10.0
    send_seconds: float = 30.0
    total_seconds: float = 600.0


class Guard:
    """An application behind the checks.

    hosts: names that this server is called by, without a port; any other is a page that was led here (DNS rebinding).
    seen: is told the path, the status and the seconds of every response.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Iterable[str] = LOOPBACK, token: str | None = None, limits: Limits | None = None,
        seen: Callable[[str, int, float], None] = lambda path, status, seconds: None,
    ) -> None:  # fmt: skip
        self._app, self._token, self._limits, self._seen = app, token, limits or Limits(), seen
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = _Sent(send, self._limits.send_seconds)
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                try:
                    headers = Headers(scope=scope)
                    self._check(scope, headers)
                    body = await self._body(headers, receive)
                except ApiError as error:
                    await error.response()(scope, receive, sent)
                else:
                    await self._app(scope, _replay(body, receive), sent)
        except TimeoutError:
            if not sent.status:
                await ApiError(408, "the request took too long", code="timeout").response()(scope, receive, sent)
        finally:
            seconds = time.monotonic() - sent.begun
            logger.info("%s %s %s %d %.3f s", sent.id, scope["method"], scope["path"], sent.status, seconds)
            self._seen(scope["path"], sent.status, seconds)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Refuse a request by its head alone."""
        host = headers.get("host", "")
        named = _HOST.fullmatch(host)
        if not named or named[1].lower() not in self._hosts:
            raise ApiError(421, "this server is not called by that name (--allow-host adds one)", code="wrong_host")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"{kind}://{host.lower()}" for kind in ("http", "https")}:
            raise ApiError(403, "requests from pages of other origins are refused", code="foreign_origin")
        if self._token is not None and scope["path"].startswith(PRIVATE):
            given = headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, self._token.encode()):
                raise ApiError(401, "the token is missing or wrong", code="invalid_api_key",
                               headers={"www-authenticate": "Bearer"})  # fmt: skip
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and kind != "application/json":
            raise ApiError(415, "the content type must be application/json", code="unsupported_media_type")

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body, counted while it comes."""
        limit, length = self._limits.body_bytes, headers.get("content-length", "0")
        too_large = ApiError(413, f"the body is larger than {limit} bytes", code="request_too_large")
        if length.isdigit() and int(length) > limit:
            raise too_large
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise ApiError(408, "the body took too long", code="timeout", headers={"connection": "close"}) from None
        return bytes(body)


class _Sent:
    """Sends with an id, safe headers and a limit of time; knows what status was sent."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds
        self.id, self.status, self.begun = f"req-{secrets.token_hex(8)}", 0, time.monotonic()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["content-security-policy"] = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"
        async with asyncio.timeout(self._seconds):
            await self._send(message)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receiver of a body that was read, and then of what the client does."""
    first: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed
