"""The load tool against a server of what it expects, and one that fails."""

import asyncio

import pytest

from benchmarks.load import load

CHUNK = b'data: {"choices": [{"delta": {"content": "hi"}}], "usage": null}\n\n'
USAGE = b'data: {"choices": [], "usage": {"completion_tokens": 2}}\n\ndata: [DONE]\n\n'


async def run(parts, status=b"200 OK", users=2):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        for part in parts:
            await asyncio.sleep(0.05)
            writer.write(part)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        return await load(users, 0.2, f"http://127.0.0.1:{port}/v1", {"model": "m"}, "none")


def test_times_and_tokens_are_those_of_the_stream():
    row, _ = asyncio.run(run([CHUNK, CHUNK + USAGE]))
    assert row.failed == row.refused == 0 and row.replies >= 2
    assert 50 <= row.first_token_p50 <= row.first_token_p95 and row.between_p50 >= 40
    assert row.tokens_per_second == pytest.approx(2 * row.replies / 0.25, rel=0.6)


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([CHUNK], b"200 OK", "ended before it was done"),
        ([b'data: {"error": {"message": "broken"}}\n\n'], b"200 OK", "broken"),
        ([b"{}"], b"500 No", "status 500"),
    ],
)
def test_what_breaks_is_counted_and_said(parts, status, words):
    row, seen = asyncio.run(run(parts, status))
    assert row.failed >= 2 and row.replies == 0 and words in seen.failures[0]


def test_a_refusal_is_no_failure():
    row, _ = asyncio.run(run([], b"429 Too Many"))
    assert row.refused >= 2 and row.failed == 0
