"""What the sides of `transformers` and of TRL share: the GPT-2 that has our sizes."""

from collections.abc import Mapping
from typing import Any

from transformers import GPT2Config


def gpt2_config(options: Mapping[str, Any], **others: Any) -> GPT2Config:
    """A GPT-2 without dropout."""
    return GPT2Config(
        vocab_size=options["vocabulary"],
        n_positions=options["context"],
        n_embd=options["width"],
        n_layer=options["layers"],
        n_head=options["heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **others,
    )
