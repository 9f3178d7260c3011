"""Optimizers and learning-rate schedules from parameters."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim import Optimizer as TorchOptimizer

from components.sections.optimizer import Optimizer
from components.training.muon import Muon

# Adam's epsilon of Ziegler et al. 2019: PyTorch adds it after the bias correction, so that with 1e-8 its first
# updates are larger than those of the TensorFlow code the RLHF recipes were tuned with.
ADAM_EPSILON = 1e-5
ADAM_BETAS = (0.9, 0.95)  # GPT-3 (arXiv:2005.14165, appendix B)


def build_optimizers(model: nn.Module, params: Optimizer) -> list[TorchOptimizer]:
    """AdamW for every weight, or Muon for the blocks' matrices and AdamW for embeddings, adapters, gains and biases.

    Weight decay acts on matrices alone (GPT, section 4.1: not on bias or gain weights). An adapter's two factors are no
    matrices to Muon: orthogonal steps of its rates would move their product far.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [weight for name, weight in named if weight.ndim == 2 and _is_matrix(name)]
    tables = [weight for name, weight in named if weight.ndim == 2 and not _is_matrix(name)]
    vectors = [weight for _, weight in named if weight.ndim < 2]
    groups = [{"params": tables, "weight_decay": params.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if params.name == "adamw":
        groups[0]["params"] = tables + matrices
    adam = AdamW(groups, lr=params.learning_rate, betas=ADAM_BETAS, eps=ADAM_EPSILON, fused=True)
    if params.name == "adamw":
        return [adam]
    if not matrices:  # all are frozen, and adapters train
        return [adam]
    muon = Muon(matrices, lr=params.matrix_learning_rate, weight_decay=params.weight_decay)
    return [muon, adam]


def _is_matrix(name: str) -> bool:
    return "blocks." in name and not name.endswith((".up", ".down"))


def learning_rate_factor(params: Optimizer, step: int, total_steps: int) -> float:
    """What the learning rate is multiplied with at a step, counted from 0: warm-up, plateau, decay.

    The decay covers the last `decay_fraction` of the steps and ends at `final_fraction`.
    """
    warmup = min(1.0, (step + 1) / params.warmup_steps) if params.warmup_steps else 1.0
    if params.decay == "constant":
        return warmup
    decay_steps = max(1.0, total_steps * params.decay_fraction)
    progress = min(1.0, max(0.0, (step + 1 - (total_steps - decay_steps)) / decay_steps))
    shape = 1 - progress if params.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return warmup * (params.final_fraction + (1 - params.final_fraction) * shape)


def set_learning_rates(optimizers: list[TorchOptimizer], factor: float) -> None:
    """Scale every group's rate from its initial value."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor


def clip_gradients(model: nn.Module, limit: float) -> Float[Tensor, ""]:
    """Scale the gradients so that their global norm is at most `limit`; the norm before."""
    return nn.utils.clip_grad_norm_(model.parameters(), limit)
