"""Which tokens see which, counted by hand and against GPT-Neo, whose layers alternate as GPT-3's do."""

from dataclasses import replace

import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from components.losses.sampling import Sampling
from components.models.attention import causal, in_sight
from components.models.families.family import layout_of
from components.models.families.gpt3 import Gpt3
from components.models.families.keys import FormatError
from components.models.generation import sample_steps
from components.models.transformer import GPT
from tests.components.families import randomize

CPU = torch.device("cpu")
BAND = 3


def test_pairs_of_a_mask_are_counted():
    """w T - w (w - 1) / 2 pairs of T tokens are in a band of w; T (T + 1) / 2 in none."""
    positions = torch.arange(8)
    assert int(in_sight(positions, positions, None).sum()) == 36
    band = causal(8, 3, CPU)
    assert int(band.sum()) == 21
    assert [row.nonzero()[:, 0].tolist() for row in band[0, 0, [0, 1, 5]]] == [[0], [0, 1], [3, 4, 5]]


@pytest.mark.parametrize("band", [None, 8, 9])
def test_a_band_that_hides_nothing_is_no_mask(band):
    assert causal(8, band, CPU) is None


@pytest.fixture
def model():
    torch.manual_seed(0)
    family = Gpt3(kind="gpt3", shape="4x24x3", band=BAND)
    return randomize(GPT(family.config(vocab_size=83, context_length=32)))


@torch.no_grad()
def as_gpt_neo(model):
    """The same weights there, where maps of queries have no biases and their products are not scaled."""
    config = GPTNeoConfig(
        vocab_size=83, max_position_embeddings=32, hidden_size=24, num_layers=4, num_heads=3, window_size=BAND,
        attention_types=[[["global", "local"], 2]], activation_function="gelu_new", intermediate_size=96,
    )  # fmt: skip
    theirs = GPTNeoForCausalLM(config).eval()
    body = theirs.transformer
    body.wte.weight.copy_(model.token_embedding.weight)
    body.wpe.weight.copy_(model.position_embedding.weight)
    body.ln_f.load_state_dict(model.final_norm.state_dict())
    for block, own in zip(body.h, model.blocks, strict=True):
        own.attention.qkv.bias.zero_()
        queries, keys, values = own.attention.qkv.weight.chunk(3)
        block.attn.attention.q_proj.weight.copy_(queries / 8**0.5)
        block.attn.attention.k_proj.weight.copy_(keys)
        block.attn.attention.v_proj.weight.copy_(values)
        block.attn.attention.out_proj.load_state_dict(own.attention.projection.state_dict())
        block.ln_1.load_state_dict(own.attention_norm.state_dict())
        block.ln_2.load_state_dict(own.mlp_norm.state_dict())
        block.mlp.c_fc.load_state_dict(own.mlp[0].state_dict())
        block.mlp.c_proj.load_state_dict(own.mlp[2].state_dict())
    return theirs


@torch.no_grad()
def test_every_other_block_sees_a_band_as_those_of_gpt_neo_do(model):
    ids = torch.randint(0, 83, (2, 32))
    expected = as_gpt_neo(model)(ids).logits
    torch.testing.assert_close(model.logits(model(ids)), expected, atol=1e-5, rtol=1e-5)
    dense = GPT(replace(model.config, band=None))
    dense.load_state_dict(model.state_dict())
    assert (dense.logits(dense(ids)) - expected).abs().max() > 1e-2


@torch.no_grad()
def test_sampling_sees_the_same_band(model):
    prompts = [[5], list(range(9)), [7, 8, 9, 10]]
    steps = list(sample_steps(model, prompts, sampling=Sampling(temperature=0.0), uniform=torch.zeros(3, 20)))
    for prompt, reply in zip(prompts, torch.stack(steps, dim=1).tolist(), strict=True):
        logits = model.logits(model(torch.tensor([prompt + reply])))[0, len(prompt) - 1 : -1]
        chosen = logits.gather(1, torch.tensor(reply)[:, None])[:, 0]
        assert (logits.max(dim=-1).values - chosen).max() < 1e-4


def test_others_have_no_class_for_it():
    with pytest.raises(FormatError, match=r"gpt3\.py has no LAYOUT"):
        layout_of("gpt3")
