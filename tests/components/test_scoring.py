"""What models say of replies does not depend on how rows are grouped, nor on whether a repeated prompt is read once."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from components.data.sequences import pack
from components.losses.sampling import Sampling, scaled_logits
from components.models.heads import ScalarGPT
from components.models.scoring import response_logits, response_logprobs, response_values, sequence_scores
from components.models.transformer import GPT
from tests.components.families import FAMILIES

PROMPTS = [[3, 4, 5, 6], [7], [8, 9]]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.kind)
def body(request):
    torch.manual_seed(0)
    body = GPT(request.param.config(vocab_size=31, context_length=16))
    for parameter in body.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return body


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    replies = [torch.randint(31, (length,), generator=draw).tolist() for length in (1, 5, 3, 9, 2, 4, 7, 1, 6, 3, 2, 8)]
    batch = pack([PROMPTS[row % 3] for row in range(12)], replies, pad_id=0)
    assert batch.prompt_numbers.tolist() == [0, 1, 2] * 4
    return batch


def each_alone(batch):
    for row in range(len(batch.input_ids)):
        yield batch.input_ids[row, : int(batch.last_positions[row]) + 1], int(batch.prompt_lengths[row])


def gradients(value, model):
    return torch.autograd.grad((value * torch.linspace(1, 2, value.numel()).view_as(value)).sum(), model.parameters())


def test_logprobs_and_their_gradients_are_those_of_each_row_alone(body, batch):
    found = response_logprobs(body, batch, Sampling())
    expected = torch.zeros_like(found)
    for row, (ids, prompt) in enumerate(each_alone(batch)):
        logprobs = F.log_softmax(body.logits(body(ids[None]))[0, prompt - 1 : -1], dim=-1)
        expected[row, : len(ids) - prompt] = logprobs.gather(1, ids[prompt:, None])[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients(found, body), gradients(expected, body), atol=1e-4, rtol=1e-4)


def test_scores_and_values_are_those_of_each_row_alone(body, batch):
    model = ScalarGPT.on(body)
    scores, values = sequence_scores(model, batch), response_values(model, batch)
    for row, (ids, prompt) in enumerate(each_alone(batch)):
        alone = model(ids[None])[0]
        torch.testing.assert_close(scores[row], alone[-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values[row, : len(ids) - prompt], alone[prompt - 1 : -1], atol=1e-5, rtol=1e-5)
        assert not values[row, len(ids) - prompt :].any()


def test_a_repeated_prompt_is_read_once_and_padding_never(body, batch, monkeypatch):
    tokens = []
    forward = GPT.forward

    def counted(self, input_ids, memory=None):
        tokens.append(input_ids.numel())
        return forward(self, input_ids, memory)

    monkeypatch.setattr(GPT, "forward", counted)
    shared = sequence_scores(ScalarGPT.on(body), batch)
    once, tokens[:] = sum(tokens), []
    apart = sequence_scores(ScalarGPT.on(body), replace(batch, prompt_numbers=None))
    assert once == 7 + 51 and sum(tokens) == 4 * 7 + 51
    assert shared.shape == apart.shape


def test_parts_of_a_batch_add_up_in_float64(body, batch):
    """Whole against halves, prompts shared and not: where rounding is 1e-16, nothing else may differ."""
    model = ScalarGPT.on(body).double()

    def summed(*parts):
        model.zero_grad()
        for part in parts:
            weights = torch.linspace(1, 2, 12)[part]
            (sequence_scores(model, batch.rows(torch.tensor(part))) * weights).sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    whole, halves = summed(list(range(12))), summed(list(range(0, 12, 2)), list(range(1, 12, 2)))
    batch = replace(batch, prompt_numbers=None)
    for found in (halves, summed(list(range(12)))):
        torch.testing.assert_close(found, whole, atol=1e-12, rtol=1e-12)


def test_rows_without_a_reply_are_prompts_alone(body, batch):
    """What a process that has run out of rows takes part with."""
    model = ScalarGPT.on(body)
    silent = replace(batch, response_mask=torch.zeros_like(batch.response_mask))
    assert not response_logprobs(body, silent, Sampling()).any()
    scores = sequence_scores(model, silent)
    for row, (ids, prompt) in enumerate(each_alone(batch)):
        torch.testing.assert_close(scores[row], model(ids[None, :prompt])[0, -1], atol=1e-5, rtol=1e-5)
    alone = replace(silent.rows(torch.tensor([0])), prompt_numbers=None)
    found = torch.autograd.grad(response_logprobs(body, alone, Sampling()).sum(), body.parameters())
    assert not any(gradient.any() for gradient in found)  # but there is one: strategies wait for each


@torch.no_grad()
def test_in_bf16_replies_are_as_likely_as_the_sampler_finds_them(body, batch):
    """The sampler draws from the softmax of `logits`: a cap that rounds there alone would move PPO's first ratios."""
    batch, cooled = replace(batch, prompt_numbers=None), Sampling(temperature=0.7)
    with torch.autocast("cpu", torch.bfloat16):
        trained = response_logprobs(body, batch, cooled)
        drawn = scaled_logits(response_logits(body, batch), cooled, None).log_softmax(-1)
    drawn = drawn.gather(-1, batch.response_ids[..., None])[..., 0].masked_fill(~batch.response_mask, 0)
    assert (trained - drawn).abs().max() < 1e-4
