"""A small network of GPT's form, for tests of classifiers."""

import torch

from components.models.config import GPTConfig
from components.models.transformer import GPT


def network(vocab_size=40, **changes):
    torch.manual_seed(0)
    config = {"family": "gpt1", "post_norm": True, **changes}
    model = GPT(GPTConfig(vocab_size, 24, 3, 16, 2, **config))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def state(body, ids):
    return body(torch.tensor([ids]))[0, -1]
