"""The next-token loss against cross-entropy of whole logits and numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from components.losses import cross_entropy, language_modelling
from components.losses.cross_entropy import target_losses
from components.losses.language_modelling import bits_per_byte, next_token_loss


@pytest.mark.parametrize("rows", [3, 400])  # fewer and more targets than a chunk of the head's logits
def test_next_token_loss_is_the_mean_over_what_counts(rows):
    """Value and gradients against plain cross-entropy of whole logits."""
    torch.manual_seed(0)
    hidden, head = torch.randn(rows, 3, 5, requires_grad=True), torch.randn(7, 5, requires_grad=True)
    targets, mask = torch.randint(0, 7, (rows, 3)), torch.rand(rows, 3) < 0.7
    plain = F.cross_entropy((hidden @ head.T)[mask], targets[mask])
    expected = torch.autograd.grad(plain, (hidden, head))
    loss = next_token_loss(hidden, head, targets, mask)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, (hidden, head)), expected)
    unmasked = next_token_loss(hidden, head, targets, count=torch.tensor(10))
    torch.testing.assert_close(
        unmasked, F.cross_entropy((hidden @ head.T).flatten(0, 1), targets.flatten(), reduction="sum") / 10
    )


@pytest.mark.parametrize("cap", [None, 2.0])
def test_a_loss_in_parts_is_the_whole_loss_and_its_gradients(monkeypatch, cap):
    """Parts of two targets of seven logits; the reference is written out."""
    torch.manual_seed(0)
    hidden, head = torch.randn(2, 9, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    targets = torch.randint(0, 7, (2, 9))
    monkeypatch.setattr(language_modelling, "WHOLE", 14)
    found = []
    for function in (
        lambda h, w: next_token_loss(h, w, targets, cap=cap),
        lambda h, w: (
            -((h @ w.T if cap is None else cap * torch.tanh(h @ w.T / cap)).log_softmax(-1))
            .gather(-1, targets[..., None])
            .mean()
        ),
    ):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        loss = function(h, w)
        found.append((loss.detach(), *torch.autograd.grad(loss, (h, w))))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_next_token_loss_knows_uniform_logits_empty_batches_and_bf16():
    hidden, head = torch.zeros(1, 2, 4, requires_grad=True), torch.zeros(50257, 4, requires_grad=True)
    targets = torch.zeros(1, 2, dtype=torch.long)
    assert next_token_loss(hidden, head, targets).item() == pytest.approx(10.824905, abs=1e-5)  # ln 50257
    with torch.autocast("cpu", torch.bfloat16):
        assert next_token_loss(hidden, head, targets).item() == pytest.approx(10.824905, abs=1e-5)
    nothing = next_token_loss(hidden, head, targets, torch.zeros(1, 2, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0 and not hidden.grad.any()


def test_bits_per_byte_of_a_fair_coin_per_byte_is_one():
    assert bits_per_byte(100 * math.log(2), 100) == pytest.approx(1.0)


@pytest.mark.parametrize(("cap", "temperature"), [(None, 1.0), (None, 0.7), (2.0, 1.0), (2.0, 0.7)])
def test_target_losses_and_their_slopes_are_those_of_float64(monkeypatch, cap, temperature):
    """Blocks of three rows; each row has a slope of its own."""
    torch.manual_seed(1)
    monkeypatch.setattr(cross_entropy, "BLOCK", 3 * 11)
    hidden, head, targets = torch.randn(10, 6), torch.randn(11, 6), torch.randint(0, 11, (10,))
    weights = torch.randn(10)
    h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    found = target_losses(h, w, targets, cap=cap, temperature=temperature)
    (found * weights).sum().backward()
    exact_h, exact_w = hidden.double().requires_grad_(), head.double().requires_grad_()
    logits = exact_h @ exact_w.T
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    exact = -(logits / temperature).log_softmax(-1)[torch.arange(10), targets]
    (exact * weights.double()).sum().backward()
    for ours, expected in ((found, exact), (h.grad, exact_h.grad), (w.grad, exact_w.grad)):
        torch.testing.assert_close(ours.double(), expected, atol=2e-5, rtol=1e-5)


def test_target_losses_in_bf16_are_as_near_as_bf16_logits_are():
    torch.manual_seed(2)
    hidden, head, targets = torch.randn(300, 32), torch.randn(50, 32) / 5, torch.randint(0, 50, (300,))
    found = []
    for enabled in (True, False):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = target_losses(h, w, targets, cap=15.0).mean()
        loss.backward()
        found.append((loss, h.grad, w.grad))
    (loss, *slopes), (exact, *exact_slopes) = found
    assert loss.item() == pytest.approx(exact.item(), rel=1e-3)
    for ours, expected in zip(slopes, exact_slopes, strict=True):
        assert ours.dtype == torch.float32 and (ours - expected).norm() < 0.01 * expected.norm()
