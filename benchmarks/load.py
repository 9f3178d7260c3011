"""A running server under load: users that ask, read the stream to its end and ask again (a closed loop).

    make serve                                                 # in another terminal
    python -m benchmarks.load                                  # 1, 8 and 32 users, 10 seconds each
    python -m benchmarks.load --users 32 --seconds 600         # ten minutes; exits with 1 if a request failed
    python -m benchmarks.load --model gpt-sft/3 --max-tokens 100 --json load.json

Told are the time to the first token and between tokens, each at the 50th and the 95th percentile, tokens a second over
all users, and how many requests were refused (429) or failed. The client shares the machine with the server.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.loopback import LOOPBACK

PROMPTS = ("hello, how are you?", "what do you like to do?", "tell me about your day", "do you have a pet?")
REQUEST_SECONDS = 120.0
WAIT_SECONDS = 0.2  # after a refusal


@dataclass
class Seen:
    """What the users of one run saw; times in seconds."""

    first_token: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    tokens: int = 0
    replies: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A run's figures; times in milliseconds."""

    users: int
    replies: int
    first_token_p50: float
    first_token_p95: float
    between_p50: float
    between_p95: float
    tokens_per_second: float
    refused: int
    failed: int


class Refused(Exception):
    """429: too many at once."""


@asynccontextmanager
async def events(address: str, body: dict[str, Any], token: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of a streamed reply, by a connection of its own.

    Raises:
        Refused: the server asks to come again.
        ValueError: another status than 200.
    """
    parts, data = urlsplit(address), json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    head = [f"POST {parts.path}/chat/completions HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json",
            f"Content-Length: {len(data)}", f"Authorization: Bearer {token}", "Connection: close", "", ""]  # fmt: skip
    try:
        writer.write("\r\n".join(head).encode() + data)
        status = int((await reader.readline()).split()[1])
        if status == 429:
            raise Refused
        if status != 200:
            raise ValueError(f"status {status}: {(await reader.read(4096))[-300:]!r}")
        yield _data(reader)
    finally:
        writer.close()


async def _data(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """What stands in the lines of a stream that begin with `data:`, to the last; sizes of chunks are other lines."""
    while line := await reader.readline():
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
    raise ValueError("the stream ended before it was done")


async def ask(address: str, body: dict[str, Any], token: str, seen: Seen) -> None:
    """One reply, to its end."""
    begun, last, count = time.perf_counter(), 0.0, 0
    async with events(address, body, token) as stream:
        async for event in stream:
            if "error" in event:
                raise ValueError(event["error"]["message"])
            count = (event.get("usage") or {}).get("completion_tokens", count)
            now = time.perf_counter()
            if event["choices"] and event["choices"][0]["delta"].get("content"):
                (seen.between if last else seen.first_token).append(now - (last or begun))
                last = now
    seen.tokens, seen.replies = seen.tokens + count, seen.replies + 1


async def user(number: int, until: float, address: str, fields: dict[str, Any], token: str, seen: Seen) -> None:
    """Ask until the time is over; what is being answered then is waited for."""
    turn = 0
    while time.perf_counter() < until:
        content = PROMPTS[(number + turn) % len(PROMPTS)]
        body = fields | {"messages": [{"role": "user", "content": content}], "seed": number * 100_003 + turn}
        turn += 1
        try:
            await asyncio.wait_for(ask(address, body, token, seen), REQUEST_SECONDS)
        except Refused:
            seen.refused += 1
            await asyncio.sleep(WAIT_SECONDS)
        except (OSError, ValueError, IndexError, TimeoutError, asyncio.IncompleteReadError) as error:
            seen.failures.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(WAIT_SECONDS)


async def load(users: int, seconds: float, address: str, fields: dict[str, Any], token: str) -> tuple[Row, Seen]:
    """A run with some users."""
    seen, begun = Seen(), time.perf_counter()
    await asyncio.gather(*(user(n, begun + seconds, address, fields, token, seen) for n in range(users)))
    took = time.perf_counter() - begun
    row = Row(
        users, seen.replies, _percentile(seen.first_token, 50), _percentile(seen.first_token, 95),
        _percentile(seen.between, 50), _percentile(seen.between, 95), round(seen.tokens / took, 1), seen.refused,
        len(seen.failures),
    )  # fmt: skip
    return row, seen


def _percentile(times: list[float], share: int) -> float:
    """In milliseconds; NaN without any."""
    if len(times) < 2:
        return round(1000 * times[0], 2) if times else float("nan")
    return round(1000 * statistics.quantiles(times, n=100, method="inclusive")[share - 1], 2)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default=f"http://{LOOPBACK[0]}:8000", help="where the server is")
    parser.add_argument("--model", default="gpt-ppo")
    parser.add_argument("--token", default="none")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each number of users (default: 10)")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the rows there too")
    arguments = parser.parse_args()
    fields = {"model": arguments.model, "max_tokens": arguments.max_tokens, "stream": True,
              "stream_options": {"include_usage": True}}  # fmt: skip
    address = f"{arguments.url.rstrip('/')}/v1"
    rows: list[Row] = []
    failures: list[str] = []
    print("users  replies  first token p50, p95 (ms)  between p50, p95 (ms)  tokens/s  refused  failed")
    for users in arguments.users:
        row, seen = asyncio.run(load(users, arguments.seconds, address, fields, arguments.token))
        rows.append(row)
        failures += seen.failures
        print(
            f"{row.users:5}  {row.replies:7}  {row.first_token_p50:12.1f} {row.first_token_p95:12.1f}  "
            f"{row.between_p50:10.1f} {row.between_p95:10.1f}  {row.tokens_per_second:8.1f}  {row.refused:7}  "
            f"{row.failed:6}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if failures:
        sys.exit("\n".join(dict.fromkeys(failures)))


if __name__ == "__main__":
    main()
