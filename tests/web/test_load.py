"""Many clients, clients that leave, and an engine that breaks."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.serving import USER, serving, wait_until

LONG = {"model": "gpt-long", "messages": USER, "max_tokens": 1900}


def post(fields, port):
    body = json.dumps(fields).encode()
    lines = ("POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             f"Content-Length: {len(body)}", "", "")  # fmt: skip
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 8])
def test_who_leaves_is_not_answered_any_longer(server, stream, n):
    server.chat(model="gpt-long", max_tokens=1)
    cancelled = server.service.metrics.cancelled
    connection = post(LONG | {"stream": stream, "n": n}, server.port)
    wait_until(lambda: server.live() >= n)
    connection.close()
    assert wait_until(lambda: server.live() == 0) < 0.5
    assert wait_until(lambda: server.service.metrics.cancelled == cancelled + 1) < 0.5


def test_who_leaves_while_waiting_never_gets_a_slot(registry):
    with serving(slots=1) as running:
        running.chat(model="gpt-long", max_tokens=1)
        connections = [post(LONG | {"stream": stream}, running.port) for stream in (True, True, False, False)]
        wait_until(lambda: running.live() == 4)
        for connection in connections[1:]:
            connection.close()
        wait_until(lambda: running.live() == 1)
        connections[0].close()
        wait_until(lambda: running.live() == 0)
        assert sum(each.engine.tokens for each in running.service.pool.loaded()) < 1900


def test_three_hundred_at_once_get_a_whole_reply_or_a_rate_limit(registry):
    with serving(slots=16, queue=100) as running, ThreadPoolExecutor(300) as threads:
        running.chat()
        replies = list(threads.map(lambda seed: running.chat(seed=seed, stream=False), range(300)))
        assert running.chat()[0] == 200 and running.live() == 0
    assert {status for status, _ in replies} <= {200, 429}
    whole = [body for status, body in replies if status == 200]
    assert len(whole) >= 100
    assert all(body["choices"][0]["finish_reason"] in ("stop", "length") for body in whole)
    assert all(body["error"]["type"] == "rate_limit_error" for status, body in replies if status == 429)


def test_replies_under_load_are_those_alone_and_as_likely(registry):
    """600 seeded replies, one slot against sixteen."""

    def said(running, seed):
        status, body = running.chat(seed=seed // 8, n=8, logprobs=True, max_tokens=16)
        assert status == 200
        return [
            ([token["token"] for token in choice["logprobs"]["content"]],
             [token["logprob"] for token in choice["logprobs"]["content"]])
            for choice in body["choices"]
        ]  # fmt: skip

    seeds = range(0, 600, 8)
    with serving(slots=1) as alone:
        expected = [reply for seed in seeds for reply in said(alone, seed)]
    with serving(slots=16, queue=1000) as loaded, ThreadPoolExecutor(16) as threads:
        found = [reply for replies in threads.map(lambda seed: said(loaded, seed), seeds) for reply in replies]
    same = [(one, other) for one, other in zip(expected, found, strict=True) if one[0] == other[0]]
    assert len(expected) == 600 and len(same) >= 594
    assert all(one == pytest.approx(other, abs=1e-5) for (_, one), (_, other) in same)


def test_when_an_engine_breaks_everyone_hears_of_it_and_health_says_so(registry):
    with serving(slots=4) as running, ThreadPoolExecutor(8) as threads:
        running.chat(model="gpt-long", max_tokens=1)
        (loaded,) = running.service.pool.loaded()
        asked = [threads.submit(running.chat, model="gpt-long", max_tokens=1900) for _ in range(6)]
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", json.dumps(LONG | {"stream": True}),
                           {"content-type": "application/json"})  # fmt: skip
        streamed = connection.getresponse()
        wait_until(lambda: loaded.engine.live == 4 and running.live() == 7)
        loaded.engine._cache = None  # its rows are lost, wherever in a step it is
        for status, body in (each.result(20) for each in asked):
            assert (status, body["error"]["code"]) == (500, "engine_ended")
        events = streamed.read().decode().split("\n\n")
        assert "engine_ended" in events[-2] and "[DONE]" not in events[-2]
        status, _, said = running.ask()
        assert (status, json.loads(said)["dead"]) == (503, ["gpt-long/1"])
        assert running.chat(model="gpt-long")[0] == 500
        assert running.chat(model="gpt-ppo")[0] == 200  # the other models go on
        assert running.live() == 0


def test_a_client_that_does_not_read_holds_nobody_up(server):
    server.chat(model="gpt-long", max_tokens=1)
    slow = post(LONG | {"stream": True, "n": 8, "logprobs": True, "top_logprobs": 20}, server.port)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wait_until(lambda: server.live() == 8)
    begun = time.monotonic()
    assert server.chat(max_tokens=4)[0] == 200
    assert time.monotonic() - begun < 5
    slow.close()
    wait_until(lambda: server.live() == 0)
