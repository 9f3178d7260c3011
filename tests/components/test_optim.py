"""Muon, schedules and precision."""

import pytest
import torch
from torch import nn

from components.models import precision
from components.sections.optimizer import Optimizer
from components.training.muon import Muon, orthogonalize
from components.training.optim import learning_rate_factor
from tests.components.alignment import steady


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 32)])
def test_updates_are_nearly_orthogonal(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, *shape)))
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("shape", [(16, 16), (64, 16), (16, 64)])
def test_orthogonalising_is_the_published_iteration_in_float64(shape):
    """Singular values from 1 down to 1e-5: the products of Gram matrices must not lose the small ones."""
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    matrix = u * torch.logspace(0, -5, 16, dtype=torch.float64) @ v
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    found = orthogonalize(matrix[None].float())[0].double()
    assert (found - x).norm() < 1e-3 * x.norm()


def test_muon_agrees_with_torchs_to_the_precision_of_its_bf16():
    torch.manual_seed(0)
    shapes = [(16, 16), (48, 16), (16, 64), (16, 16)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    start = [p.detach().clone() for p in ours]
    pair = (Muon(ours, lr=0.1, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1))
    for _ in range(4):
        gradients = [torch.randn(shape) for shape in shapes]
        for parameters, optimizer in zip((ours, theirs), pair, strict=True):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    for own, other, first in zip(ours, theirs, start, strict=True):
        moved = (other - first).norm()
        assert (own - other).norm() < 0.03 * moved


def test_a_matrix_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    batch = torch.randn(4, 12, 6)
    torch.testing.assert_close(orthogonalize(batch)[2], orthogonalize(batch[2:3])[0], atol=1e-6, rtol=0)


def schedule(**changes):
    return Optimizer(**{**steady(1.0), "decay": "cosine", "decay_fraction": 1.0, "final_fraction": 0.1, **changes})


def test_cosine_passes_its_published_points():
    factors = [learning_rate_factor(schedule(), step, 1000) for step in (499, 999)]
    assert factors == pytest.approx([0.55, 0.1])


def test_gpt_fine_tunes_by_the_published_schedule():
    """(x / w if x <= w else 1) (1 - x) with x = t / 1000 and w = 0.002, t counted from 1 where a step is from 0."""
    published = schedule(decay="linear", final_fraction=0.0, warmup_steps=2)
    found = [learning_rate_factor(published, t - 1, 1000) for t in (1, 2, 500, 1000)]
    assert found == pytest.approx([0.4995, 0.998, 0.5, 0.0])


def test_warm_up_and_linear_decay_by_hand():
    params = schedule(warmup_steps=4, decay="linear", decay_fraction=0.5, final_fraction=0.0)
    factors = [learning_rate_factor(params, step, 10) for step in (0, 3, 4, 5, 9)]
    assert factors == pytest.approx([0.25, 1.0, 1.0, 0.8, 0.0])


@pytest.mark.parametrize(("pays", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_precision_is_bf16_only_where_that_pays(monkeypatch, pays, expected):
    precision.resolve.cache_clear()
    monkeypatch.setattr(precision, "bf16_pays", lambda device_type: pays)
    assert precision.resolve("auto", "cpu") == expected
    assert precision.resolve("32-true", "cpu") == "32-true"
    precision.resolve.cache_clear()


@pytest.mark.parametrize(
    ("flags", "seconds", "expected"),
    [({}, (1.0, 0.1), False), ({"avx512_bf16": True}, (1.0, 1.8), False), ({"avx512_bf16": True}, (1.0, 0.4), True)],
)
def test_bf16_pays_where_the_processor_has_it_and_is_faster_in_it(monkeypatch, flags, seconds, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    monkeypatch.setattr(precision, "_product_seconds", lambda fp32, bf16: seconds)
    precision.bf16_pays.cache_clear()
    assert precision.bf16_pays("cpu") is expected
    precision.bf16_pays.cache_clear()
