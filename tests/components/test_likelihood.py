"""Likelihoods of continuations: each row alone in float64, and what transformers' logits give."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.evaluation.likelihood import likelihoods, rolling_windows
from components.models.config import GPTConfig
from components.models.formats.transformers_format import import_model
from components.models.transformer import GPT

LENGTH, VOCABULARY = 12, 37


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT(GPTConfig(VOCABULARY, LENGTH, num_layers=2, width=16, num_heads=2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def drawn(count, longest, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, longest, (count, 2))
    return [tuple(rng.integers(0, VOCABULARY, size).tolist() for size in pair) for pair in sizes]


def by_hand(logits_of, context, continuation):
    """One row alone, its probabilities in float64, a token after the other."""
    whole = [*context, *continuation]
    total, greedy = 0.0, True
    kept = whole[-(LENGTH + 1) :]
    logits = np.asarray(logits_of(kept[:-1]), dtype=np.float64)
    for step in range(len(continuation)):
        place = len(kept) - 1 - len(continuation) + step
        row, target = logits[place], kept[place + 1]
        total += row[target] - np.log(np.exp(row - row.max()).sum()) - row.max()
        greedy &= int(row.argmax()) == target
    return total, greedy


def ours(model):
    return lambda ids: model.logits(model(torch.tensor([ids])))[0].detach().numpy()


@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_likelihoods_are_those_of_each_row_alone_however_it_is_batched(model, batch_tokens):
    pairs = drawn(40, LENGTH)
    assert any(len(a) + len(b) > LENGTH + 1 for a, b in pairs)
    found = likelihoods(model, pairs, context_length=LENGTH, batch_tokens=batch_tokens)
    for own, (context, continuation) in zip(found, pairs, strict=True):
        logprob, greedy = by_hand(ours(model), context, continuation)
        assert own.logprob == pytest.approx(logprob, abs=1e-5)
        assert (own.tokens, own.greedy) == (len(continuation), greedy)


def test_the_likeliest_continuation_is_greedy(model):
    context = [3, 4, 5]
    for _ in range(3):
        context.append(int(ours(model)(context)[-1].argmax()))
    (whole, cut), other = (
        likelihoods(model, [(context[:3], context[3:]), (context[:3], context[3:5])], context_length=LENGTH),
        likelihoods(model, [(context[:3], [*context[3:5], (context[5] + 1) % VOCABULARY])], context_length=LENGTH),
    )
    assert whole.greedy and cut.greedy and not other[0].greedy


def test_rows_that_are_the_same_tokens_go_through_the_model_once(model):
    seen = []

    class Counting:
        def __call__(self, input_ids):
            seen.append(len(input_ids))
            return model(input_ids)

        logits = staticmethod(model.logits)

    pairs = [([1, 2, 3], [answer]) for answer in range(9)]
    found = likelihoods(Counting(), pairs, context_length=LENGTH)
    assert sum(seen) == 1
    assert sum(np.exp(own.logprob) for own in found) < 1
    assert [own.logprob for own in found] == pytest.approx([by_hand(ours(model), *pair)[0] for pair in pairs], abs=1e-5)


def test_likelihoods_are_those_of_transformers(tmp_path):
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=2)
    theirs = GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    pairs = drawn(20, LENGTH, seed=3)
    found = likelihoods(import_model(tmp_path).eval(), pairs, context_length=LENGTH)
    for own, pair in zip(found, pairs, strict=True):
        logprob, greedy = by_hand(lambda ids: theirs(torch.tensor([ids])).logits[0].detach().numpy(), *pair)
        assert own.logprob == pytest.approx(logprob, abs=1e-4)
        assert own.greedy == greedy


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (([], [1]), "0 tokens of context"),
        (([1], []), "0 of continuation"),
        (([1], [2] * (LENGTH + 1)), f"at most {LENGTH}"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_place(model, pair, words):
    with pytest.raises(ValueError, match=rf"pair 2: .*{words}"):
        likelihoods(model, [([1], [2]), pair], context_length=LENGTH)


def test_windows_by_hand():
    # The example of the harness's own description of rolling likelihoods, made disjoint.
    assert rolling_windows(list(range(10)), prefix_id=99, context_length=4) == [
        ([99], [0, 1, 2, 3]),
        ([3], [4, 5, 6, 7]),
        ([5, 6, 7], [8, 9]),
    ]
    assert rolling_windows([7], prefix_id=99, context_length=4) == [([99], [7])]
    assert rolling_windows([], prefix_id=99, context_length=4) == []


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 8, 9, 23])
def test_windows_cover_a_text_once_with_all_the_context_that_fits(size):
    ids = list(range(size))
    windows = rolling_windows(ids, prefix_id=99, context_length=4)
    assert [i for _, own in windows for i in own] == ids
    seen = 0
    for context, own in windows:
        assert len(context) + len(own) == (5 if seen else min(size, 4) + 1)
        assert list(context) == ([99, *ids][: seen + 1])[-len(context) :]
        seen += len(own)
