"""Beam search against looking at every continuation, and against a loop without a cache."""

import itertools
import math

import pytest
import torch

from components.evaluation.beam import Beam, beam_search, penalty
from components.models.cache import KeyValueCache
from components.models.config import GPTConfig
from components.models.generation import padded
from components.models.transformer import GPT

VOCAB, END = 6, 0
PROMPTS = [[1, 2], [3, 4, 5, 1], [2]]


@pytest.fixture
def model():
    torch.manual_seed(3)
    made = GPT(GPTConfig(VOCAB, 12, num_layers=2, width=16, num_heads=2)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return made


def ended(ids):
    return ids[-1] == END


@torch.no_grad()
def logprobs(model, ids):
    return model.logits(model(torch.tensor([ids])))[0].double().log_softmax(dim=-1)


def every(model, prompt, steps):
    """All continuations that end, or have so many tokens, with their log-probabilities."""
    for ids in itertools.product(range(VOCAB), repeat=steps):
        own = ids[: ids.index(END) + 1] if END in ids else ids
        if own + ids[len(own) :] == ids and not any(ids[len(own) :]):  # each that ends is met once: zeros behind
            found = logprobs(model, [*prompt, *own])
            yield own, sum(float(found[len(prompt) - 1 + place, token]) for place, token in enumerate(own))


def test_penalty_by_hand():
    assert penalty(1, 0.6) == 1.0
    assert penalty(7, 1.0) == 2.0
    assert penalty(13, 0.6) == pytest.approx(math.exp(0.6 * math.log(3)))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_a_beam_as_wide_as_all_finds_the_best(model, alpha):
    found = list(beam_search(model, PROMPTS, width=VOCAB**3, max_new_tokens=3, over=ended, alpha=alpha))
    for prompt, own in zip(PROMPTS, found, strict=True):
        ranked = sorted(every(model, prompt, 3), key=lambda each: -each[1] / ((5 + len(each[0])) / 6) ** alpha)
        assert [each.ids for each in own[:10]] == [ids for ids, _ in ranked[:10]]
        assert [each.logprob for each in own[:10]] == pytest.approx([value for _, value in ranked[:10]], abs=1e-4)
    assert len({len(own[place].ids) for own in found for place in range(len(own))}) > 1  # some end, some do not


def test_longer_ones_are_favoured_by_the_penalty(model):
    def lengths(alpha):
        found = beam_search(model, PROMPTS * 4, width=8, max_new_tokens=6, over=ended, alpha=alpha)
        return sum(len(own[0].ids) for own in found)

    assert lengths(0.0) < lengths(3.0)


def by_hand(model, prompt, *, width, steps):
    """The beam without a cache, alpha 0, until nothing goes on that could still be among the best."""
    going, over = [((), 0.0)], []
    for step in range(steps):
        grown = []
        for ids, value in going:
            row = logprobs(model, [*prompt, *ids])[-1]
            grown += [((*ids, token), value + float(row[token])) for token in range(VOCAB)]
        grown = sorted(grown, key=lambda each: -each[1])[: 2 * width]
        last = step + 1 == steps
        over += [each for each in grown if each[0][-1] == END or last]
        going = [each for each in grown if each[0][-1] != END and not last][:width]
    return sorted(over, key=lambda each: -each[1])[:width]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_rows_of_many_prompts_find_what_each_finds_alone(model, width):
    found = list(beam_search(model, PROMPTS, width=width, max_new_tokens=6, over=ended))
    for prompt, own in zip(PROMPTS, found, strict=True):
        expected = by_hand(model, prompt, width=width, steps=6)
        assert own[0].ids == expected[0][0]
        assert [each.logprob for each in own] == pytest.approx([value for _, value in expected][: len(own)], abs=1e-4)


def test_a_beam_of_many_prompts_in_parts_is_the_same(model, monkeypatch):
    whole = list(beam_search(model, PROMPTS, width=3, max_new_tokens=5, over=ended))
    monkeypatch.setattr("components.evaluation.beam.rows_at_once", lambda model, room: 4)
    assert [[each.ids for each in own] for own in beam_search(model, PROMPTS, width=3, max_new_tokens=5, over=ended)] \
        == [[each.ids for each in own] for own in whole]  # fmt: skip


def test_what_counts_as_the_same_is_as_likely_as_all_of_it():
    """A word of .6 with 24 followers of .025 each is likelier than one of .39 that is always followed by a point."""
    table, chair = 1, 2
    beam = Beam(16, 0.0, 3, lambda ids: len(ids) == 2, same=lambda ids: ids[0])
    beam.widen(torch.tensor([[0.01, 0.6, 0.39, *[0.0] * 23]]).log())
    assert [ids for ids, _ in beam.going][:2] == [(table,), (chair,)]
    after_table, after_chair = [0.0, 0.0, *[1 / 24] * 24], [0.0, 1.0, *[0.0] * 24]
    rest = [[1.0, *[0.0] * 25]] * (len(beam.going) - 2)
    beam.widen(torch.tensor([after_table, after_chair, *rest]).log())
    assert [own.ids[0] for own in beam.best[:2]] == [table, chair]
    assert [math.exp(own.logprob) for own in beam.best[:2]] == pytest.approx([0.6, 0.39], abs=1e-6)


def test_what_does_not_fit_is_refused(model):
    with pytest.raises(ValueError, match="13 tokens"):
        list(beam_search(model, [[1] * 5], width=2, max_new_tokens=8, over=ended))


@torch.inference_mode()
def test_rows_of_a_cache_are_copied_with_what_they_remember(model):
    cache = KeyValueCache(slots=4, capacity=8, num_layers=2, device=torch.device("cpu"))
    cache.admit([2, 4], [0, 1])
    model(padded(PROMPTS[:2]), cache)
    cache.take([1, 0, 1])
    hidden = model(torch.tensor([[5], [3], [2]]), cache)[:, 0]
    for row, ids in enumerate(([*PROMPTS[1], 5], [*PROMPTS[0], 3], [*PROMPTS[1], 2])):
        torch.testing.assert_close(hidden[row], model(torch.tensor([ids]))[0, -1], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="5 rows"):
        cache.take([0] * 5)
