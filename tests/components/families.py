"""Small random networks of every family, in our form and in that of transformers."""

import torch
from transformers import (
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    NanoChatConfig,
    OpenAIGPTConfig,
    Qwen2Config,
)

from components.models.families.gpt1 import Gpt1
from components.models.families.gpt2 import Gpt2
from components.models.families.gpt3 import Gpt3
from components.models.families.llama import Llama
from components.models.families.nanochat import Nanochat
from components.models.families.neox import Neox

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
SMALL = {
    "hidden_size": 60,
    "num_attention_heads": 5,
    "num_hidden_layers": 2,
    "vocab_size": 83,
    "max_position_embeddings": 40,
}

# Odd widths, heads shared by 1 to 5 queries, contexts to their end.
CONFIGS = {
    "gpt1": OpenAIGPTConfig(vocab_size=83, n_positions=40, n_embd=36, n_layer=3, n_head=3, layer_norm_epsilon=1e-3),
    "gpt2": GPT2Config(vocab_size=83, n_positions=40, n_embd=36, n_layer=3, n_head=3),
    "gpt2-wide": GPT2Config(
        vocab_size=83, n_positions=40, n_embd=20, n_layer=2, n_head=2, n_inner=50, activation_function="gelu",
        layer_norm_epsilon=1e-3, tie_word_embeddings=False,
    ),
    "llama": LlamaConfig(**SMALL, intermediate_size=76, num_key_value_heads=1),
    "llama-2": LlamaConfig(**SMALL | {"num_attention_heads": 6}, intermediate_size=76, num_key_value_heads=2,
                           tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "llama-3": LlamaConfig(**SMALL | {"num_attention_heads": 6}, intermediate_size=76, num_key_value_heads=3,
                           rope_parameters=LLAMA3),
    "llama-linear": LlamaConfig(**SMALL, intermediate_size=44, num_key_value_heads=5, head_dim=8, rms_norm_eps=1e-3,
                                rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5}),
    "mistral": MistralConfig(**SMALL | {"num_attention_heads": 10}, intermediate_size=44, num_key_value_heads=2,
                             sliding_window=40),
    "qwen2": Qwen2Config(**SMALL | {"num_attention_heads": 6}, intermediate_size=44, num_key_value_heads=2),
    "neox": GPTNeoXConfig(**SMALL | {"hidden_size": 80}, intermediate_size=96),
    "neox-sequential": GPTNeoXConfig(**SMALL, intermediate_size=96, use_parallel_residual=False, attention_bias=False,
                                     rope_parameters={"rope_theta": 77.0, "partial_rotary_factor": 1.0}),
    "nanochat": NanoChatConfig(**SMALL, intermediate_size=76, num_key_value_heads=5, bos_token_id=1, eos_token_id=2),
    "nanochat-shared": NanoChatConfig(**SMALL | {"num_attention_heads": 6}, intermediate_size=76, num_key_value_heads=2,
                                      final_logit_softcapping=3.0),
}  # fmt: skip

# Ours, tiny.
SHAPE = {"shape": "2x16x2"}
FAMILIES = [
    Gpt1(kind="gpt1", **SHAPE),
    Gpt2(kind="gpt2", **SHAPE),
    Gpt3(kind="gpt3", band=3, **SHAPE),
    Llama(kind="llama", kv_heads=1, **SHAPE),
    Neox(kind="neox", **SHAPE),
    Nanochat(kind="nanochat", **SHAPE),
]


def randomize(model: torch.nn.Module, std: float = 0.2) -> torch.nn.Module:
    """Weights of which none is 0 or 1: zero biases and unit gains would hide a misplaced one."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()
