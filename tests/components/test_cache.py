"""Rows that come and go compute what each computes alone, in every family."""

import pytest
import torch

from components.inference.draws import draw_each, likelihoods
from components.losses.sampling import Sampling
from components.models import cache
from components.models.cache import KeyValueCache, LayerMemory, Memory
from components.models.generation import Decoder, padded, uniforms
from tests.components.families import CONFIGS
from tests.components.test_inference import network

PROMPTS = [[5], [7, 80, 3, 9, 11, 2, 40], [7, 80, 3], [1, 2, 3, 4]]
STEPS = 9


def alone(model, prompt, uniform, sampling):
    decoder = Decoder(model, [prompt], sampling=sampling, uniform=uniform[None, :STEPS])
    return [int(decoder.step()) for _ in range(STEPS)]


class Rows:
    """Rows of a cache, driven as the engine does."""

    def __init__(self, model, slots=3):
        self.model = model
        layers, device = model.config.num_layers, torch.device("cpu")
        self.cache = KeyValueCache(slots=slots, capacity=40, num_layers=layers, device=device)
        self.said = {}
        self.rows = []

    @torch.inference_mode()
    def step(self, uniform, sampling, joining=()):
        hidden = []
        if self.rows:
            hidden.append(self.model(torch.tensor([[self.said[row][-1]] for row in self.rows]), self.cache)[:, 0])
        if joining:
            prompts = [PROMPTS[row] for row in joining]
            lengths, source = [len(prompt) for prompt in prompts], list(range(len(prompts)))
            self.cache.admit(lengths, source)
            hidden.append(self.model(padded(prompts), self.cache)[source, [length - 1 for length in lengths]])
        self.rows += joining
        drawn = [uniform[row, len(self.said.get(row, []))] for row in self.rows]
        ids = draw_each(self.model.logits(torch.cat(hidden)), [sampling] * len(drawn), torch.stack(drawn))
        for row, token in zip(self.rows, ids.tolist(), strict=True):
            self.said.setdefault(row, []).append(token)

    @torch.inference_mode()
    def leave(self, row):
        place = self.rows.index(row)
        self.rows = [self.rows[row] for row in self.cache.drop([place])]


@pytest.mark.parametrize("growth", [4, 256])  # tokens: a row of 16 outgrows its room three times, or never
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_that_join_and_leave_say_what_each_says_alone(name, growth, monkeypatch):
    monkeypatch.setattr(cache, "GROWTH", growth)
    model, sampling = network(name), Sampling(0.8, top_k=30)
    uniform = uniforms(len(PROMPTS), 40, seed=(3,))
    rows = Rows(model)
    rows.step(uniform, sampling, [0, 1])
    rows.step(uniform, sampling)
    rows.step(uniform, sampling, [2])
    rows.step(uniform, sampling)
    rows.leave(0)  # the last row takes its place
    rows.step(uniform, sampling, [3])
    while any(len(rows.said[row]) < STEPS for row in rows.rows):
        rows.step(uniform, sampling)
    for row, prompt in enumerate(PROMPTS):
        expected = alone(model, prompt, uniform[row], sampling)
        assert rows.said[row][:STEPS] == expected[: len(rows.said[row])]
    assert len(rows.said[0]) == 4


@pytest.mark.parametrize("name", ["gpt2", "llama-3", "nanochat-shared"])
def test_a_row_may_fill_its_context_to_the_end(name):
    model, uniform = network(name), uniforms(4, 40, seed=(1,))
    rows = Rows(model)
    rows.step(uniform, Sampling(), [1])
    for _ in range(40 - len(PROMPTS[1])):
        rows.step(uniform, Sampling())
    with pytest.raises(ValueError, match="after 40 of 40"):
        rows.step(uniform, Sampling())
    decoder = Decoder(model, [PROMPTS[1]], sampling=Sampling(), uniform=uniform[1:2, : 40 - len(PROMPTS[1])])
    assert rows.said[1][:-1] == [int(decoder.step()) for _ in range(40 - len(PROMPTS[1]))]


def test_it_is_a_memory_and_refuses_what_is_not_due():
    cache = KeyValueCache(slots=2, capacity=8, num_layers=1, device=torch.device("cpu"))
    assert isinstance(cache, Memory) and isinstance(cache.layers[0], LayerMemory)
    with pytest.raises(ValueError, match="1 tokens where 1 are due"):
        cache.start(1)  # nobody is there
    with pytest.raises(ValueError, match="exceed 2 slots"):
        cache.admit([2], [0, 0, 0])
    cache.admit([2], [0, 0])
    with pytest.raises(ValueError, match="3 tokens where 2 are due"):
        cache.start(3)


def test_rows_of_several_samplings_are_drawn_as_each_alone():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    uniform = torch.linspace(0.05, 0.95, 6)
    samplings = [Sampling(), Sampling(0), Sampling(0.5), Sampling(top_p=0.3), Sampling(0), Sampling()]
    drawn = draw_each(logits, samplings, uniform)
    each = [draw_each(logits[row : row + 1], samplings[row : row + 1], uniform[row : row + 1]) for row in range(6)]
    assert drawn.tolist() == torch.cat(each).tolist()
    assert drawn[1] == logits[1].argmax() and drawn[4] == logits[4].argmax()


def test_likelihoods_are_the_log_softmax_and_the_best_come_first():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    first, second = likelihoods(logits, torch.tensor([0, 0]), [2, 0])
    total = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).exp().sum().log().item()
    assert first.logprob == pytest.approx(-total, abs=1e-6)
    assert [token for token, _ in first.best] == [2, 1] and first.best[0][1] == pytest.approx(2 - total, abs=1e-6)
    assert second.best == ()
