"""The official client against a real server, and a suite of conformance that is not ours."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import OpenAI

from components.checkpoints import load_gpt, load_tokenizer
from components.losses.sampling import Sampling
from components.models.generation import Decoder, uniforms
from tests.web.serving import USER, serving


@pytest.fixture(scope="module")
def client(server):
    with OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client


def chat(client, **fields):
    return client.chat.completions.create(**{"model": "gpt-ppo", "messages": USER} | fields)


def streamed(client, **fields):
    """The text of each choice, and the last chunks."""
    texts, finishes, last = {}, {}, None
    for last in chat(client, stream=True, **fields):
        for choice in last.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            finishes[choice.index] = choice.finish_reason or finishes.get(choice.index)
    return [texts[n] for n in sorted(texts)], [finishes[n] for n in sorted(finishes)], last


def test_models_are_listed_by_each_of_their_names_and_retrieved(client):
    listed = {model.id: model for model in client.models.list()}
    assert {"gpt-ppo", "gpt-ppo@champion", "gpt-ppo/1", "gpt-ppo/2", "gpt-long/1"} <= listed.keys()
    assert (listed["gpt-ppo"].version, listed["gpt-ppo@candidate"].version) == ("gpt-ppo/1", "gpt-ppo/2")
    for name in ("gpt-ppo@champion", "gpt-ppo/1", "gpt-ppo"):
        model = client.models.retrieve(name)
        assert (model.id, model.object, model.version) == (name, "model", "gpt-ppo/1")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-ppo/77")


def test_a_reply_says_whose_it_is_and_what_it_took(client, server):
    reply = chat(client, seed=3)
    (choice,) = reply.choices
    assert reply.id.startswith("chatcmpl-") and reply.object == "chat.completion"
    assert (choice.index, choice.message.role, choice.message.refusal) == (0, "assistant", None)
    assert choice.message.content == choice.message.content.strip() and choice.finish_reason in ("stop", "length")
    (loaded,) = [each for each in server.service.pool.loaded() if each.version == reply.model]
    assert (reply.model, reply.system_fingerprint) == ("gpt-ppo/1", loaded.digest)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens == len(loaded.tokenizer.encode_prompt(USER, max_tokens=99))


def test_a_reply_is_what_the_trainers_sampler_says(client, registry):
    from components.mlflow_store import download_model  # noqa: PLC0415

    folder = download_model("models:/gpt-ppo/1")
    model, tokenizer = load_gpt(folder), load_tokenizer(folder)
    for seed in range(5):
        decoder = Decoder(model, [tokenizer.encode_prompt(USER, max_tokens=99)], sampling=Sampling(0.9),
                          uniform=uniforms(1, 20, seed=(seed,)))  # fmt: skip
        ids = []
        while len(ids) < 20 and tokenizer.end not in ids:
            ids.append(int(decoder.step()))
        reply = chat(client, seed=seed, temperature=0.9, max_tokens=20)
        assert reply.choices[0].message.content == tokenizer.decode(ids).strip()
        assert reply.usage.completion_tokens == len(ids)


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"temperature": 0}, {"stop": ["e", "hi"], "n": 4}, {"top_p": 0.5}])
def test_a_stream_is_the_whole_of_the_same_seed(client, fields):
    for seed in range(6):
        whole = chat(client, seed=seed, **fields)
        texts, finishes, _ = streamed(client, seed=seed, **fields)
        assert texts == [choice.message.content for choice in whole.choices]
        assert finishes == [choice.finish_reason for choice in whole.choices]
        assert len(texts) == fields.get("n", 1)


def test_choices_differ_and_the_first_is_the_only_one_of_n_1(client):
    three = [choice.message.content for choice in chat(client, seed=1, n=3).choices]
    assert len(set(three)) == 3 and chat(client, seed=1).choices[0].message.content == three[0]


def test_a_stop_text_ends_a_reply_and_is_not_in_it(client):
    reply = chat(client, model="gpt-long", stop=["hi hi h"], max_tokens=50)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("", "stop")
    reply = chat(client, model="gpt-long", max_tokens=5)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("hi hi hi hi hi", "length")
    assert reply.usage.completion_tokens == 5


def test_usage_comes_last_in_a_stream_that_asks_for_it(client):
    chunks = list(chat(client, seed=2, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage == chat(client, seed=2).usage
    assert all(chunk.usage is None for chunk in chat(client, seed=2, stream=True))


def test_log_probabilities_are_told_whole_and_streamed(client):
    whole = chat(client, seed=5, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert whole and all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in whole)
    assert all(token.top_logprobs[0].logprob >= token.logprob for token in whole)
    told = [
        token
        for chunk in chat(client, seed=5, logprobs=True, top_logprobs=3, stream=True)
        for choice in chunk.choices
        for token in (choice.logprobs.content if choice.logprobs else [])
    ]
    assert [(t.token, round(t.logprob, 5)) for t in told] == [(t.token, round(t.logprob, 5)) for t in whole]


def test_a_base_model_goes_on_with_a_text(client):
    whole = client.completions.create(model="gpt-ppo/1", prompt="hello", seed=1, n=2, max_tokens=9, logprobs=2)
    assert whole.object == "text_completion" and len(whole.choices) == 2
    texts = ["", ""]
    for chunk in client.completions.create(model="gpt-ppo/1", prompt="hello", seed=1, n=2, max_tokens=9, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]
    assert len(whole.choices[0].logprobs.tokens) == len(whole.choices[0].logprobs.token_logprobs)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="gpt-ppo/1", prompt="hello " * 200)
    assert caught.value.code == "context_length_exceeded"


def test_responses_whole_and_streamed(client):
    fields = {"model": "gpt-ppo", "input": "hello", "instructions": "be kind", "extra_body": {"seed": 4}}
    whole = client.responses.create(**fields)
    events = list(client.responses.create(stream=True, **fields))
    assert whole.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == f"response.{whole.status}"
    assert events[-1].response.output_text == whole.output_text
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    with pytest.raises(openai.BadRequestError, match="previous_response_id is not offered"):
        client.responses.create(previous_response_id="resp_1", **fields)


def test_what_the_context_forgot_is_told(client):
    long = [turn for n in range(30) for turn in ({"role": "user", "content": f"hello {n}"},
                                                 {"role": "assistant", "content": "hi"})]  # fmt: skip
    raw = client.chat.completions.with_raw_response.create(model="gpt-ppo", messages=[*long, *USER])
    assert 0 < int(raw.headers["x-context-forgotten"]) < 60 and raw.headers["x-context-cut"] == "false"
    raw = client.chat.completions.with_raw_response.create(model="gpt-ppo", messages=USER)
    assert (raw.headers["x-context-forgotten"], raw.headers["x-context-cut"]) == ("0", "false")
    huge = [{"role": "user", "content": "hello bye " * 90}]
    raw = client.chat.completions.with_raw_response.create(model="gpt-ppo", messages=huge)
    assert raw.headers["x-context-cut"] == "true"


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"temperature": 3}, openai.BadRequestError, "invalid_value"),
        ({"messages": []}, openai.BadRequestError, "invalid_value"),
        ({"messages": [*USER, *USER]}, openai.BadRequestError, "invalid_messages"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "invalid_value"),
        ({"model": "gpt-none"}, openai.NotFoundError, "model_not_found"),
        ({"model": "gpt-reward"}, openai.BadRequestError, "model_not_usable"),
        ({"messages": [{"role": "user", "content": "x" * 300_000}]}, openai.APIStatusError, "request_too_large"),
    ],
)
def test_refusals_are_the_clients_typed_errors(client, fields, error, code):
    with pytest.raises(error) as caught:
        chat(client, **fields)
    assert caught.value.code == code and caught.value.body["message"]
    assert caught.value.request_id.startswith("req-")


def test_a_token_is_asked_for_where_there_is_one(registry):
    with serving(token="secret") as running:
        for key, works in (("secret", True), ("wrong", False), ("secre", False)):
            with OpenAI(base_url=f"{running.address}/v1", api_key=key, max_retries=0) as who:
                if works:
                    assert who.models.list().data
                else:
                    with pytest.raises(openai.AuthenticationError):
                        who.models.list()
        assert running.ask(path="/v1/models", authorization="Bearer ü".encode())[0] == 401
        assert running.ask(path="/metrics")[0] == 401 and running.ask(path="/health")[0] == 200


def test_too_much_at_once_is_a_rate_limit_that_says_when_to_come_again(registry):
    with (
        serving(slots=1, queue=2) as running,
        OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0) as client,
        ThreadPoolExecutor(8) as threads,
    ):

        def ask(_):
            try:
                return chat(client, model="gpt-long", max_tokens=300).choices[0].finish_reason
            except openai.RateLimitError as error:
                return error.response.headers["retry-after"]

        ends = list(threads.map(ask, range(8)))
    assert set(ends) == {"length", "1"} and 3 <= ends.count("length") < 8


@pytest.mark.parametrize(
    ("form", "left_out"),
    [("openai-chat", ("tool", "image")), ("open-responses", ("tool", "image", "phase", "compact"))],
)
def test_llm_comply_finds_nothing_wrong_with_text(server, form, left_out):
    """Tools, images and memory are not offered."""
    listed = subprocess.run([sys.executable, "-m", "llm_comply.cli", "--list", "--format", form], check=True,
                            capture_output=True, text=True).stdout  # fmt: skip
    cases = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2:3].strip()]
    cases = [case for case in cases if not any(word in case for word in left_out) and "reasoning" not in case]
    assert len(cases) == 6
    command = [sys.executable, "-m", "llm_comply.cli", "--format", form, "-u", f"{server.address}/v1", "-k", "x",
               "-m", "gpt-ppo", "-f", ",".join(cases)]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and f"All {len(cases)} tests passed!" in done.stdout, done.stdout + done.stderr
