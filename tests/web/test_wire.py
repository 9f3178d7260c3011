"""Requests are read strictly: what is asked for and not offered, out of range or no JSON is a 400 with a sentence."""

import json

import pytest

from components.losses.sampling import Sampling
from components.web.errors import ApiError
from components.web.wire import ChatRequest, CompletionRequest, ResponseRequest, read

USER = {"role": "user", "content": "hi"}
CHAT = {"model": "gpt-ppo", "messages": [USER]}


def asked(**fields):
    return read(ChatRequest, json.dumps(CHAT | fields).encode())


def refused(body, kind=ChatRequest):
    with pytest.raises(ApiError) as caught:
        read(kind, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == 400
    return caught.value


def test_what_is_not_said_is_as_a_version_was_judged():
    request = asked()
    assert (request.new_tokens, request.sampling, request.stops, request.best) == (40, Sampling(1.0, 0, 1.0), (), None)
    assert request.drawing_seed != asked().drawing_seed


def test_what_is_said_is_read():
    request = asked(
        temperature=0, top_p=0, top_k=5, seed=-1, stop="x", n=8, max_tokens=3, max_completion_tokens=4, logprobs=True,
        top_logprobs=20, stream=True, stream_options={"include_usage": True, "other": 1}, unknown={"a": 1},
    )  # fmt: skip
    assert request.sampling.greedy and 0 < request.sampling.top_p < 1e-5
    assert (request.drawing_seed, request.stops, request.new_tokens, request.best) == (2**64 - 1, ("x",), 4, 20)
    assert request.with_usage


def test_parts_of_a_message_are_one_text_and_the_developer_is_the_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = asked(messages=[{"role": "developer", "content": parts}, USER])
    assert request.messages[0].plain == {"role": "system", "content": "ab"}


def test_the_input_of_a_response_is_a_conversation():
    body = {"model": "m", "input": "hi", "instructions": "be kind"}
    assert read(ResponseRequest, json.dumps(body).encode()).messages == [{"role": "system", "content": "be kind"}, USER]
    body = {"model": "m", "input": [{"type": "message", **USER}]}
    assert read(ResponseRequest, json.dumps(body).encode()).messages == [USER]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -5}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": "x" * 101}, "stop"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"audio": {"voice": "a"}}, "audio"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
    ],
)
def test_a_field_out_of_range_or_not_offered_is_named(fields, param):
    assert refused(CHAT | fields).param == param


def test_null_asks_for_nothing():
    assert asked(tools=None, stop=None, seed=None, temperature=None, frequency_penalty=0, logit_bias={}).n is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "no JSON object"),
        (b'{"model": "m"', "not JSON"),
        (b"\xff{}", "not JSON"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        (b'{"model": "m", "unknown": "\\uDFFFx"}', "surrogate"),
        (b'{"model": "m", "temperature": NaN}', "NaN is no JSON number"),
        (b'{"model": "m", "unknown": [Infinity]}', "Infinity is no JSON number"),
        (b'{"a": ' * 33 + b"1" + b"}" * 33, "nested more than 32 deep"),
        (b"[" * 100_000, "nested more than 32 deep"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_body_that_is_no_request_is_a_sentence(body, words):
    assert words in refused(body).message


def test_brackets_in_texts_are_no_depth_and_pairs_of_surrogates_are_characters():
    body = json.dumps(CHAT | {"messages": [{"role": "user", "content": '[{"\\' * 500 + "\U0001f600"}]}).encode()
    assert b"\\ud83d\\ude00" in body
    assert read(ChatRequest, body).messages[0].plain["content"].endswith("\U0001f600")


def test_a_completion_goes_on_with_one_text():
    assert read(CompletionRequest, b'{"model": "m", "prompt": ["a"]}').text == "a"
    assert read(CompletionRequest, b'{"model": "m", "prompt": ""}').new_tokens == 16
    for prompt in (["a", "b"], [1, 2], 3):
        assert refused({"model": "m", "prompt": prompt}, CompletionRequest).param == "prompt"
    assert refused({"model": "m", "prompt": "a", "echo": True}, CompletionRequest).param == "echo"
