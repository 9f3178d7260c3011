"""The engine: replies that do not depend on their neighbours, and requests that end whatever happens."""

import queue
import random
import threading
import time
from dataclasses import replace

import pytest
import torch

from components.inference.engine import Drawn, Engine, EngineDead, EngineFull, Request
from components.losses.sampling import Sampling
from components.models.config import GPTConfig
from components.models.generation import Decoder, uniforms
from components.models.transformer import GPT
from tests.components.families import randomize

END = 4
SAMPLINGS = (Sampling(), Sampling(0.7, top_k=20), Sampling(top_p=0.9), Sampling(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return randomize(GPT(GPTConfig(97, 64, num_layers=2, width=32, num_heads=4)), std=0.15)


@pytest.fixture
def engine(model):
    made = Engine(model, slots=8, queue=1000)
    yield made
    made.close()


def request(number, **changes):
    draws = random.Random(number)
    prompt = tuple(draws.randrange(5, 97) for _ in range(draws.randrange(1, 24)))
    usual = Request(prompt, 16, frozenset({END}), SAMPLINGS[number % 4], seed=number)
    return replace(usual, **changes)


def ask(engine, *requests):
    """The drawn tokens of each request's choices, once all have ended."""
    inbox = queue.Queue()
    tickets = [engine.submit(each, inbox.put) for each in requests]
    said = {ticket: [] for group in tickets for ticket in group}
    going = set(said)
    while going:
        drawn = inbox.get(timeout=30)
        said[drawn.ticket].append(drawn)
        going -= {drawn.ticket} if drawn.finish else set()
    return [[said[ticket] for ticket in group] for group in tickets]


def ids(drawn):
    return [each.token for each in drawn]


def decoded(model, asked, choice=0):
    """The reply by the trainer's own sampler, alone."""
    uniform = uniforms(1, asked.max_new_tokens, seed=(asked.seed, choice))
    decoder = Decoder(model, [list(asked.prompt)], sampling=asked.sampling, uniform=uniform)
    reply = []
    while len(reply) < asked.max_new_tokens and (not reply or reply[-1] not in asked.end_ids):
        reply.append(int(decoder.step()))
    return reply


def test_replies_under_load_are_those_of_the_trainers_sampler_alone(model, engine):
    asked = [request(number) for number in range(300)]
    same = sum(ids(reply) == decoded(model, each) for each, (reply,) in zip(asked, ask(engine, *asked), strict=True))
    assert same >= 0.99 * len(asked)
    assert (engine.live, engine.waiting) == (0, 0)


def test_a_choice_is_decided_by_seed_and_number_alone(model, engine):
    asked = request(8, choices=5)
    (replies,) = ask(engine, asked)
    assert [ids(reply) for reply in replies] == [decoded(model, asked, choice) for choice in range(5)]
    assert len({tuple(ids(reply)) for reply in replies}) > 1
    (fewer,) = ask(engine, replace(asked, choices=2, max_new_tokens=7))
    assert [ids(reply) for reply in fewer] == [ids(reply)[:7] for reply in replies[:2]]


def test_a_reply_ends_by_its_marker_or_its_length(engine):
    for (reply,) in ask(engine, *map(request, range(16))):
        assert [each.finish for each in reply[:-1]] == [None] * (len(reply) - 1)
        assert reply[-1].finish == ("stop" if reply[-1].token == END else "length")
        assert reply[-1].finish == "stop" or len(reply) == 16


def test_log_probabilities_are_those_of_a_whole_pass(model, engine):
    for best in (0, 3):
        asked = [request(number, best=best) for number in range(12)]
        for each, (reply,) in zip(asked, ask(engine, *asked, *map(request, range(20, 30))), strict=False):
            with torch.no_grad():
                row = torch.tensor([[*each.prompt, *ids(reply)]])
                logprobs = model.logits(model(row))[0, len(each.prompt) - 1 : -1].double().log_softmax(dim=-1)
            for place, drawn in enumerate(reply):
                assert drawn.likelihood.logprob == pytest.approx(float(logprobs[place, drawn.token]), abs=1e-5)
                expected = logprobs[place].topk(3).values.tolist()[:best]
                assert [value for _, value in drawn.likelihood.best] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("slots", "steps"), [(4, 16), (2, 32), (3, 32), (1, 64)])
def test_a_slot_that_gets_free_is_taken_at_the_next_step(model, slots, steps):
    engine = Engine(model, slots=slots)
    ask(engine, request(1, end_ids=frozenset(), choices=4))
    engine.close()
    assert engine.steps == steps and engine.tokens == 64


def test_cancelled_rows_leave_at_the_next_step_and_waiting_ones_never_join(model):
    engine, begun, gone = Engine(model, slots=1), threading.Event(), []
    long = request(3, end_ids=frozenset(), max_new_tokens=40)
    (first,) = engine.submit(long, lambda drawn: (gone.append(drawn), begun.set(), time.sleep(0.005)))
    (second,) = engine.submit(long, gone.append)
    assert begun.wait(10)
    second.cancel()
    first.cancel()
    deadline = time.monotonic() + 5
    while (engine.live or engine.waiting) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (engine.live, engine.waiting) == (0, 0)
    assert len(gone) < 40 and all(drawn.ticket is first for drawn in gone)
    engine.close()


def test_beyond_the_queue_a_request_is_refused_whole(model):
    engine = Engine(model, slots=1, queue=3)
    hold = threading.Event()
    engine.submit(request(0, end_ids=frozenset()), lambda drawn: hold.wait(10))
    while engine.live < 1:
        time.sleep(0.001)
    engine.submit(request(1, choices=2), lambda drawn: None)
    with pytest.raises(EngineFull, match="2 replies wait, 3 may"):
        engine.submit(request(2, choices=2), lambda drawn: None)
    engine.submit(request(2), lambda drawn: None)
    hold.set()
    engine.close()


def test_an_exception_ends_every_request_with_an_error(model):
    class Broken(GPT):
        def logits(self, hidden):
            if len(hidden) > 2:
                raise RuntimeError("a broken weight")
            return super().logits(hidden)

    torch.manual_seed(0)
    broken = randomize(Broken(model.config))
    engine, inbox = Engine(broken, slots=3), queue.Queue()
    tickets = {engine.submit(request(number, end_ids=frozenset()), inbox.put)[0] for number in range(5)}
    while tickets:
        drawn: Drawn = inbox.get(timeout=10)
        if drawn.finish is not None:
            assert drawn.finish == "error" and drawn.token is None
            tickets.discard(drawn.ticket)
    assert str(engine.error) == "a broken weight"
    with pytest.raises(EngineDead, match="a broken weight"):
        engine.submit(request(1), inbox.put)


@pytest.mark.parametrize(
    "changes", [{"prompt": ()}, {"max_new_tokens": 0}, {"max_new_tokens": 64}, {"prompt": tuple(range(5, 60))}]
)
def test_what_cannot_fit_is_refused_when_it_is_asked(engine, changes):
    with pytest.raises(ValueError, match="together at most 64"):
        engine.submit(request(1, **changes), print)


@pytest.mark.parametrize(("choices", "sizes"), [(1, [1] * 16), (3, [3, 45])])
def test_a_row_alone_hears_each_token_and_rows_together_the_first_and_then_several(model, monkeypatch, choices, sizes):
    """With a hold that no test outlives: what comes nevertheless is each first token, and all with the last."""
    monkeypatch.setattr("components.inference.engine.HOLD_SECONDS", 1e6)
    batches = []

    def post(deliver):
        batches.append([])
        deliver()

    engine, ended = Engine(model, slots=4, post=post), threading.Barrier(2)
    asked, left = request(3, end_ids=frozenset(), choices=choices), [choices]

    def receive(drawn):
        batches[-1].append(drawn)
        left[0] -= drawn.finish is not None
        if not left[0]:
            ended.wait(10)

    engine.submit(asked, receive)
    ended.wait(30)
    engine.close()
    assert [len(batch) for batch in batches if batch] == sizes
    for choice in range(choices):
        told = [drawn.token for batch in batches for drawn in batch if drawn.ticket.choice == choice]
        assert told == decoded(model, asked, choice)
