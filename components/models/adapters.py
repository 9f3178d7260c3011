"""Low-rank adapters (LoRA, arXiv:2106.09685): small trained differences to a trunk that is kept once, as it is.

With all stages adapted, policy, reference, reward model and value network of PPO hold one set of weights.
"""

import copy
import hashlib
import math
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from components.models.heads import ScalarGPT
from components.models.transformer import GPT
from components.sections.weights import Full, Lora

Network = TypeVar("Network", GPT, ScalarGPT)


class LoraLinear(nn.Linear):
    """A frozen linear map and a trained one of low rank: W x + b + alpha / rank * up down x (LoRA, equation 3)."""

    def __init__(self, frozen: nn.Linear, *, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)  # nn.Linear would make weights of its own
        self.in_features, self.out_features = frozen.in_features, frozen.out_features
        self.weight, self.bias = frozen.weight, frozen.bias
        self.rank, self.alpha = rank, alpha
        self.down = nn.Parameter(torch.randn(rank, self.in_features) / math.sqrt(self.in_features))
        self.up = nn.Parameter(torch.zeros(self.out_features, rank))  # so that training starts at the frozen map

    def forward(
        self, input: Float[Tensor, "*places {self.in_features}"]
    ) -> Float[Tensor, "*places {self.out_features}"]:
        rows = input.reshape(-1, self.in_features)
        frozen = F.linear(rows, self.weight, self.bias)
        found = torch.addmm(frozen, F.linear(rows, self.down), self.up.mT, alpha=self.alpha / self.rank)
        return found.view(*input.shape[:-1], self.out_features)

    @torch.no_grad()
    def merged(self, dtype: torch.dtype | None = None) -> nn.Linear:
        """The plain linear map that computes the same, with weights in a type of their own if one is given."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        weight = self.weight + self.alpha / self.rank * self.up @ self.down
        plain.weight = nn.Parameter(weight.to(dtype or weight.dtype), requires_grad=False)
        plain.bias = self.bias
        return plain


def shared_copy(model: Network) -> Network:
    """A copy that shares the tensors which do not train, and has its own of those which do."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad})


def trainable(model: Network, weights: Full | Lora, *, new_tokens: bool = False) -> Network:
    """The model itself, all of whose weights train; or one that shares them, frozen, and trains adapters and its head.

    Every linear map of the blocks gets an adapter (the paper adapts queries and values alone; arXiv:2305.14314,
    section 4, found that all are needed). Adapters that the model already has go on training, in a copy. With
    `new_tokens` the token embedding trains as well, in a copy, and a head that is not the embedding: a frozen row of a
    token never seen stays meaningless.
    """
    if isinstance(weights, Full):
        return model
    adapted = shared_copy(model.requires_grad_(False))
    for block in _trunk(adapted).blocks:
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, LoraLinear):
                    child.down, child.up = nn.Parameter(child.down.clone()), nn.Parameter(child.up.clone())
                elif isinstance(child, nn.Linear):
                    setattr(parent, name, LoraLinear(child, rank=weights.rank, alpha=weights.alpha))
    if new_tokens:
        trunk = _trunk(adapted)
        trunk.token_embedding = copy.deepcopy(trunk.token_embedding).requires_grad_(True)
        if not trunk.config.tied:
            trunk.output = copy.deepcopy(trunk.output).requires_grad_(True)
    if isinstance(adapted, ScalarGPT):
        adapted.head = copy.deepcopy(adapted.head)
        adapted.head.weight.requires_grad_(True)
    return adapted


def is_adapted(model: GPT | ScalarGPT) -> bool:
    """Whether a model is a trunk with adapters."""
    return any(isinstance(module, LoraLinear) for module in model.modules())


def merged(model: GPT | ScalarGPT, dtype: torch.dtype | None = None) -> GPT | ScalarGPT:
    """A plain model that computes what an adapted one does; it shares what has no adapter.

    With a dtype, merged weights are in it: one after the other, so that they are never all there in two types.
    """
    plain = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged(dtype))
    return plain


def adapter_tensors(model: ScalarGPT) -> dict[str, Float[Tensor, "..."]]:
    """What a model has beyond its trunk: adapters and the scalar head."""
    state = model.state_dict()
    return {name: t for name, t in state.items() if name.endswith((".down", ".up")) or name.startswith("head.")}


def adapter_shape(model: ScalarGPT) -> Lora:
    """Rank and alpha of an adapted model."""
    module = next(module for module in model.modules() if isinstance(module, LoraLinear))
    return Lora(kind="lora", rank=module.rank, alpha=module.alpha)


def on_trunk(trunk: GPT, tensors: dict[str, Float[Tensor, "..."]], shape: Lora) -> ScalarGPT:
    """A model made of a trunk, whose tensors it shares, and of what `adapter_tensors` gave; frozen.

    Raises:
        RuntimeError: the tensors are not those of adapters of this trunk.
    """
    adapted = trainable(ScalarGPT.on(trunk), shape)
    unexpected = adapted.load_state_dict(tensors, strict=False).unexpected_keys
    if unexpected or tensors.keys() != adapter_tensors(adapted).keys():
        raise RuntimeError(f"adapters of another kind of model: {', '.join(unexpected) or 'some are missing'}")
    return adapted.requires_grad_(False).eval()


def trunk_digest(model: GPT | ScalarGPT) -> str:
    """SHA-256 of the weights that adapters were made for."""
    digest = hashlib.sha256()
    for name, weight in _trunk(model).state_dict().items():
        if not name.endswith((".down", ".up")):
            digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _trunk(model: GPT | ScalarGPT) -> GPT:
    return model.body if isinstance(model, ScalarGPT) else model
