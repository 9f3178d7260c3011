"""What the blocks of a transformer are made of: norms and feed-forward layers."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from components.models.config import GPTConfig


class SquaredReLU(nn.Module):
    """max(0, x) squared (Primer, arXiv:2109.08668)."""

    def forward(self, x: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
        return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "relu_squared": SquaredReLU,
}


class _UnitMeanSquare(Function):
    """x / sqrt(mean x^2 + epsilon): PyTorch takes it apart into a dozen passes on a CPU, three times as slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        shrinking = shrinking_to_unit(x, epsilon)
        unit = (x * shrinking).to(x.dtype)
        ctx.save_for_backward(unit, shrinking)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """What of the slope is along x goes, and the rest is scaled as x was."""
        unit, shrinking = ctx.saved_tensors
        along = torch.linalg.vecdot(slope, unit)[..., None] / unit.shape[-1]
        return torch.addcmul(slope, unit, along, value=-1).mul_(shrinking), None


def shrinking_to_unit(x: Float[Tensor, "*places E"], epsilon: float) -> Float[Tensor, "*places 1"]:
    """1 / sqrt(mean x^2 + epsilon), in fp32 at least."""
    precise = torch.promote_types(x.dtype, torch.float32)
    squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=precise).square_()
    return squares.div_(x.shape[-1]).add_(epsilon).rsqrt_()


def unit_mean_square(x: Float[Tensor, "*places E"], epsilon: float) -> Float[Tensor, "*places E"]:
    """Vectors scaled so that the mean of their squares is 1 (RMSNorm, arXiv:1910.07467, equation 4, without gains)."""
    if not (torch.is_grad_enabled() and x.requires_grad):  # where a Function would be a third of the time of one token
        return (x * shrinking_to_unit(x, epsilon)).to(x.dtype)
    found: Tensor = _UnitMeanSquare.apply(x, epsilon)  # type: ignore[no-untyped-call]
    return found


class RMSNorm(nn.RMSNorm):
    """The norm of `unit_mean_square`, with gains or without."""

    def forward(self, x: Float[Tensor, "*places D"]) -> Float[Tensor, "*places D"]:
        assert self.eps is not None
        unit = unit_mean_square(x, self.eps)
        return unit if self.weight is None else unit * self.weight


def norm(config: GPTConfig) -> nn.Module:
    """A norm over the width."""
    if config.norm == "layer":
        return nn.LayerNorm(config.width, eps=config.norm_epsilon)
    return RMSNorm(config.width, eps=config.norm_epsilon, elementwise_affine=config.norm == "rms")


class GatedMLP(nn.Module):
    """down(activation(gate x) * up x) (arXiv:2002.05202, equation 6); one map makes both, the gate's rows first."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_size, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]()
        self.down = nn.Linear(config.mlp_size, config.width, bias=config.mlp_bias)

    def forward(self, x: Float[Tensor, "*places D"]) -> Float[Tensor, "*places D"]:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(self.activation(gate) * up)


def mlp(config: GPTConfig) -> nn.Module:
    """The feed-forward layer of a block."""
    if config.gated:
        return GatedMLP(config)
    return nn.Sequential(
        nn.Linear(config.width, config.mlp_size, bias=config.mlp_bias),
        ACTIVATIONS[config.activation](),
        nn.Linear(config.mlp_size, config.width, bias=config.mlp_bias),
    )
