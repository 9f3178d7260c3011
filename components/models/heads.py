"""A transformer with a scalar head: the reward model (one score a sequence) and the value network (one a token)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.models.config import GPTConfig
from components.models.transformer import GPT


class ScalarGPT(nn.Module):
    """GPT body and a linear map from each hidden state to a number; the token head is not used.

    `bias` is a calibration constant, not a weight: the reward model's is set after training so that
    demonstrations score 0 on average (arXiv:2203.02155, section 3.5).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.body = GPT(config)
        self.head = new_head(config.width)

    @classmethod
    def on(cls, body: GPT) -> "ScalarGPT":
        """A new head on a body, which is used as it is, not copied."""
        with torch.device("meta"):  # a body of its own would only be thrown away
            model = cls(body.config)
        model.body = body
        model.head = new_head(body.config.width)
        return model

    def forward(self, input_ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """A number for each token."""
        return self.read(self.body(input_ids))

    def read(self, hidden: Float[Tensor, "*places D"]) -> Float[Tensor, "*places"]:
        """A number for each hidden state of the body."""
        with torch.autocast(hidden.device.type, enabled=False):  # bf16 has 3 digits: too few to tell replies apart
            return self.head(hidden.to(self.head.weight.dtype)).squeeze(-1)


def new_head(width: int) -> nn.Linear:
    """A scalar head with weights of variance 1 / (width + 1) (Stiennon et al. 2020, arXiv:2009.01325)."""
    head = nn.Linear(width, 1)
    nn.init.normal_(head.weight, std=1 / math.sqrt(width + 1))
    nn.init.zeros_(head.bias)
    head.bias.requires_grad_(False)  # pairwise losses cannot see it
    return head
