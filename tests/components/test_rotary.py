"""Queries and keys turn as complex numbers do, and have mean square 1 where that is asked; values stay."""

import subprocess
import sys

import pytest
import torch

from components.models.config import Rotary
from components.models.rotary import angles, prepare_heads
from tests.contracts.imports import ROOT

ROTARIES = [None, Rotary(width=8, base=100.0), Rotary(width=4, base=50.0, direction=-1)]
EPSILONS = [None, 1e-3]


def drawn(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(2, 5, 4, 8, dtype=dtype)


def by_complex_numbers(heads, rotary, count, epsilon):
    """The definition: pair (i, i + half) is a complex number, times e^(i position frequency), then the norm."""
    made = []
    for position in range(heads.shape[1]):
        turned = heads[:, position, :count]
        if rotary is not None:
            half = rotary.width // 2
            pairs = torch.complex(turned[..., :half], turned[..., half : 2 * half])
            exponents = -2 * torch.arange(half, dtype=torch.float64) / rotary.width
            pairs = pairs * torch.exp(1j * position * rotary.direction * rotary.base**exponents)
            turned = torch.cat([pairs.real, pairs.imag, turned[..., 2 * half :]], dim=-1)
        if epsilon is not None:
            turned = turned / (turned.square().mean(-1, keepdim=True) + epsilon).sqrt()
        made.append(torch.cat([turned, heads[:, position, count:]], dim=1))
    return torch.stack(made, dim=1)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("rotary", ROTARIES, ids=["none", "whole", "part, backwards"])
def test_heads_and_gradients_are_those_of_the_definition(rotary, epsilon):
    at = None if rotary is None else angles(torch.arange(5), rotary)
    heads = drawn().requires_grad_()
    found = prepare_heads(heads, at, count=3, epsilon=epsilon)
    expected = by_complex_numbers(heads, rotary, 3, epsilon)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)  # angles are in fp32
    slope = torch.randn_like(found)
    own, other = (torch.autograd.grad((each * slope).sum(), heads)[0] for each in (found, expected))
    torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-6)
    assert torch.equal(found[:, :, 3:], heads[:, :, 3:])
    with torch.no_grad():  # another way, the same numbers
        assert torch.equal(prepare_heads(heads, at, count=3, epsilon=epsilon), found)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_bf16_is_rounded_but_computed_in_fp32(epsilon):
    rotary = ROTARIES[1]
    heads = drawn(torch.bfloat16)
    found = prepare_heads(heads, angles(torch.arange(5), rotary), count=3, epsilon=epsilon)
    expected = by_complex_numbers(heads.double(), rotary, 3, epsilon)
    assert found.dtype == torch.bfloat16
    assert ((found.double() - expected).abs() <= 2**-7 * expected.abs() + 1e-6).all()  # two roundings of 8 bits


def test_every_row_has_positions_of_its_own():
    rotary = ROTARIES[1]
    positions = torch.tensor([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]])
    found = prepare_heads(drawn(), angles(positions, rotary), count=3, epsilon=None)
    longer = torch.cat([torch.zeros(2, 2, 4, 8, dtype=torch.float64), drawn()], dim=1)
    expected = by_complex_numbers(longer, rotary, 3, None)[1, 2:]
    torch.testing.assert_close(found[1], expected, atol=1e-6, rtol=1e-6)


COMPILED = """
import torch
from components.models.config import GPTConfig, Rotary
from components.models.transformer import GPT
torch.manual_seed(2)  # of which the compiled sums differ in the last bit, as of every seventh model
model = GPT(GPTConfig(8, 4, 1, 4, 1, rotary=Rotary(100.0, 4), qk_norm=True, norm="rms_plain"))
ids = torch.zeros(2, 3, dtype=torch.long)
compiled = torch.compile(model.__call__, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(ids), model(ids), rtol=0, atol=1e-6)
compiled(ids).sum().backward()
"""


def test_a_model_with_it_is_one_graph_for_the_compiler():
    """In a process of its own: what checks shapes while tests run cannot be compiled within a function of autograd."""
    subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, check=True)
