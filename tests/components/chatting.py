"""Tiny finished models in folders of their own, as a registered version holds them."""

from pathlib import Path

import torch

from components.checkpoints import save_model
from components.data.tokenizer import train_tokenizer
from components.models.config import GPTConfig
from components.models.heads import ScalarGPT
from components.models.transformer import GPT

CHAT = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "bye"},
]


def make_models(root: Path, *, context_length: int = 32, only_says: str | None = None) -> Path:
    """`chat`, a language model, and `reward`, a reward model, below a folder.

    only_says: a text whose first token is the likeliest after everything, so that a greedy reply never ends.
    """
    tokenizer = train_tokenizer(["hello hi bye"] * 20, vocab_size=300)
    tokenizer.save(str(root / "tokenizer.json"))
    config = GPTConfig(tokenizer.get_vocab_size(), context_length, num_layers=1, width=16, num_heads=2)
    torch.manual_seed(0)
    gpt = GPT(config)
    if only_says is not None:
        with torch.no_grad():
            gpt.final_norm.weight.zero_()  # its output is then its bias, whatever was read
            gpt.final_norm.bias.copy_(100 * gpt.token_embedding.weight[tokenizer.encode(only_says).ids[0]])
    save_model(root / "chat", gpt, root / "tokenizer.json")
    save_model(root / "reward", ScalarGPT(config), root / "tokenizer.json")
    return root
