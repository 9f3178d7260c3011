"""Named model sizes. Kept free of torch, since checking `params.yaml` needs it."""

import re

from components.models.config import GPTConfig

# name -> (layers, width, heads). GPT: section 4.1 of its paper; GPT-2: openai/gpt-2 releases; GPT-3: arXiv:2005.14165,
# Table 2.1, where two misprints are settled by the parameter counts of its Table D.1: 13B has width 5120 (printed 5140)
# and XL has 16 heads (printed 24). gpt-nano to gpt-mini: minGPT's small shapes.
SIZES = {
    "gpt-nano": (3, 48, 3),
    "gpt-micro": (4, 128, 4),
    "gpt-mini": (6, 192, 6),
    "gpt1-117M": (12, 768, 12),
    "gpt2-124M": (12, 768, 12),
    "gpt2-355M": (24, 1024, 16),
    "gpt2-774M": (36, 1280, 20),
    "gpt2-1558M": (48, 1600, 25),
    "gpt3-125M": (12, 768, 12),
    "gpt3-350M": (24, 1024, 16),
    "gpt3-760M": (24, 1536, 16),
    "gpt3-1.3B": (24, 2048, 16),
    "gpt3-2.7B": (32, 2560, 32),
    "gpt3-6.7B": (32, 4096, 32),
    "gpt3-13B": (40, 5120, 40),
    "gpt3-175B": (96, 12288, 96),
}
WEIGHTS_LIMIT = 1e13  # of the blocks' matrices: fifty times GPT-3


def parse_size(size: str) -> tuple[int, int, int]:
    """(layers, width, heads) of a name in `SIZES` or of LAYERSxWIDTHxHEADS, such as `4x256x4`.

    Raises:
        ValueError: the size is neither, or its width does not divide into its heads.
    """
    custom = re.fullmatch(r"(\d+)x(\d+)x(\d+)", size)
    if custom is None and size not in SIZES:
        raise ValueError(f"unknown model size {size!r}: use LAYERSxWIDTHxHEADS or one of {', '.join(SIZES)}")
    layers, width, heads = map(int, custom.groups()) if custom else SIZES[size]
    if not (layers and heads and width) or width % heads:
        raise ValueError(f"model size {size!r}: width {width} does not divide into {heads} heads")
    if 12 * layers * width**2 > WEIGHTS_LIMIT:
        raise ValueError(f"model size {size!r} has {12 * layers * width**2:.1e} weights: more than {WEIGHTS_LIMIT:.0e}")
    return layers, width, heads


def config_for(size: str, *, vocab_size: int, context_length: int) -> GPTConfig:
    """A GPT-2 of a named size with a tokenizer's vocabulary and a context length."""
    return GPTConfig(vocab_size, context_length, *parse_size(size))
