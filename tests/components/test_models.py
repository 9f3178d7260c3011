"""The transformer against transformers' GPT-2, its parameter counts, its cache and its sampler."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from components.losses.sampling import Sampling, candidates, scaled_logits
from components.models import generation
from components.models.attention import attend
from components.models.config import GPTConfig
from components.models.families.gpt1 import Gpt1
from components.models.generation import draw, sample_replies, sample_steps, uniforms
from components.models.heads import ScalarGPT
from components.models.parts import unit_mean_square
from components.models.sizes import config_for
from components.models.transformer import GPT, count_parameters

TINY = GPTConfig(vocab_size=61, context_length=24, num_layers=3, width=32, num_heads=4)
NAMES = {
    "token_embedding.weight": "transformer.wte.weight",
    "position_embedding.weight": "transformer.wpe.weight",
    "final_norm": "transformer.ln_f",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.0": "mlp.c_fc",
    "mlp.2": "mlp.c_proj",
    "blocks.": "transformer.h.",
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT(TINY)
    for parameter in model.parameters():  # zero biases and unit gains would hide a misplaced one
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def logits_of(model, ids):
    return model.logits(model(ids))


def test_logits_equal_those_of_transformers_gpt2_with_the_same_weights(model):
    reference = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=61, n_positions=24, n_embd=32, n_layer=3, n_head=4, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
        )
    ).eval()
    renamed = {}
    for name, weight in model.state_dict().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        is_conv = weight.ndim == 2 and "wte" not in name and "wpe" not in name
        renamed[name] = weight.T.contiguous() if is_conv else weight
    missing = reference.load_state_dict(renamed, strict=False)
    assert missing.missing_keys in ([], ["lm_head.weight"])
    assert not missing.unexpected_keys
    reference.tie_weights()
    ids = torch.randint(0, 61, (2, 24))
    with torch.no_grad():
        torch.testing.assert_close(logits_of(model, ids), reference(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "context", "expected"),
    [
        ("gpt2-124M", 1024, 124_439_808),
        ("gpt2-355M", 1024, 354_823_168),
        ("gpt2-774M", 1024, 774_030_080),
        ("gpt2-1558M", 1024, 1_557_611_200),
        ("gpt3-125M", 2048, 125_226_240),
        ("gpt3-350M", 2048, 355_871_744),
        ("gpt3-760M", 2048, 760_300_032),
        ("gpt3-1.3B", 2048, 1_315_723_264),
        ("gpt3-2.7B", 2048, 2_651_553_280),
        ("gpt3-6.7B", 2048, 6_658_404_352),
        ("gpt3-13B", 2048, 12_853_386_240),
        ("gpt3-175B", 2048, 174_604_259_328),
    ],
)
def test_parameter_counts_are_the_published_ones(size, context, expected):
    with torch.device("meta"):
        assert count_parameters(GPT(config_for(size, vocab_size=50257, context_length=context))) == expected


@pytest.mark.parametrize(("specials", "expected"), [(0, 116_534_784), (3, 116_537_088)])
def test_gpt_has_the_weights_that_were_released(specials, expected):
    with torch.device("meta"):
        model = GPT(Gpt1(kind="gpt1", shape="gpt1-117M").config(vocab_size=40_478 + specials, context_length=512))
    assert count_parameters(model) == expected


def test_loss_of_a_fresh_model_is_that_of_a_uniform_guess():
    torch.manual_seed(0)
    fresh = GPT(config_for("gpt-mini", vocab_size=50257, context_length=32))
    with torch.no_grad():
        logprobs = logits_of(fresh, torch.randint(0, 50257, (2, 32))).log_softmax(-1)
    assert -logprobs.mean().item() == pytest.approx(10.8249, abs=0.1)


def test_the_activation_is_gpt2s_tanh_form():
    activation = GPT(TINY).blocks[0].mlp[1]
    found = activation(torch.tensor([1.0, -1.0], dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), [0.8411919906, -0.1588080094], atol=1e-10)


def test_plain_attention_equals_torchs_fused_attention():
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 2, 4, 17, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    found = attend(queries.bfloat16(), keys.bfloat16(), values.bfloat16(), None)  # fp32 goes to the fused kernel
    torch.testing.assert_close(found.float(), expected, atol=3e-2, rtol=3e-2)
    double = attend(queries.double(), keys.double(), values.double(), None)
    torch.testing.assert_close(double.float(), expected, atol=1e-5, rtol=1e-5)


def test_the_future_does_not_change_the_past(model):
    ids = torch.randint(0, 61, (1, 12))
    changed = ids.clone()
    changed[0, 7:] = (changed[0, 7:] + 1) % 61
    with torch.no_grad():
        torch.testing.assert_close(logits_of(model, ids)[:, :7], logits_of(model, changed)[:, :7])


def test_scalar_head_does_not_see_padding(model):
    scalar = ScalarGPT(TINY).eval()
    ids = torch.randint(0, 61, (1, 9))
    padded = torch.cat([ids, torch.zeros(1, 6, dtype=torch.long)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(scalar(ids), scalar(padded)[:, :9], atol=1e-5, rtol=1e-5)


def test_too_many_tokens_are_refused(model):
    with pytest.raises(ValueError, match="context of 24"):
        model(torch.zeros(1, 25, dtype=torch.long))
    with pytest.raises(ValueError, match="context of 24"):
        next(sample_steps(model, [[1] * 20], sampling=Sampling(), uniform=torch.zeros(1, 5)))
    with pytest.raises(ValueError, match="a prompt of 20 tokens and 5 new ones exceed the context of 24"):
        uniform = torch.zeros(2, 5)  # the second prompt would wait
        sample_replies(model, [[1], [1] * 20], sampling=Sampling(), uniform=uniform, end_id=7, pad_id=0, slots=1)


def test_cached_generation_of_ragged_prompts_equals_uncached_greedy_decoding(model):
    prompts = [[3], [5, 6, 7, 8, 9, 10, 11], [1, 2], [60, 59, 58, 4]]
    steps = sample_steps(model, prompts, sampling=Sampling(temperature=1e-6), uniform=torch.full((4, 12), 0.5))
    sampled = torch.stack(list(steps), dim=1).tolist()
    for prompt, reply in zip(prompts, sampled, strict=True):
        ids = list(prompt)
        for _ in range(12):
            with torch.no_grad():
                ids.append(int(logits_of(model, torch.tensor([ids]))[0, -1].argmax()))
        assert ids[len(prompt) :] == reply


@pytest.mark.parametrize("cut", [{}, {"top_k": 1}, {"top_k": 5, "top_p": 0.3}])
@pytest.mark.parametrize("temperature", [0.0, 0, 1e-45])
def test_temperature_zero_takes_the_likeliest_token_whatever_is_drawn(model, temperature, cut):
    sampling = Sampling(temperature=temperature, **cut)
    prompts = [[1], [2, 3], [4, 5, 6]]
    for uniform in (torch.zeros(3, 8), torch.rand(3, 8)):
        ids = torch.stack(list(sample_steps(model, prompts, sampling=sampling, uniform=uniform)), dim=1)
        for prompt, reply in zip(prompts, ids.tolist(), strict=True):
            with torch.no_grad():
                logits = model.logits(model(torch.tensor([prompt + reply])))[0]
            assert reply == logits[len(prompt) - 1 : -1].argmax(dim=-1).tolist()


def test_replies_stop_at_the_end_marker_and_pad_after_it(model):
    replies = sample_replies(
        model, [[1], [2, 3], [4]] * 20, sampling=Sampling(), uniform=uniforms(60, 15, seed=(0,)), end_id=7, pad_id=0
    )
    for ids, mask, ended in zip(replies.response_ids, replies.response_mask, replies.ended, strict=True):
        length = int(mask.sum())
        assert mask.tolist() == [True] * length + [False] * (len(mask) - length)
        assert (7 in ids[:length].tolist()) == bool(ended)
        assert 7 not in ids[: length - 1].tolist()
        assert (ids[length:] == 0).all()
    assert 0 < replies.ended.sum() < len(replies.ended)


def test_dropping_rows_that_have_ended_changes_no_reply(model, monkeypatch):
    """Against decoding every row to its last step, without dropping any."""
    monkeypatch.setattr(generation, "LEAVE_AT", 0.98)
    prompts, uniform = [[1], [2, 3], [4, 9, 1]] * 20, uniforms(60, 15, seed=(0,))
    replies = sample_replies(model, prompts, sampling=Sampling(), uniform=uniform, end_id=7, pad_id=0)
    assert replies.response_mask[:, -1].float().mean() < 0.9  # some were dropped on the way
    whole = torch.stack(list(sample_steps(model, prompts, sampling=Sampling(), uniform=uniform)), dim=1).tolist()
    for ids, mask, expected in zip(replies.response_ids.tolist(), replies.response_mask, whole, strict=True):
        length = expected.index(7) + 1 if 7 in expected else 15
        assert int(mask.sum()) == length
        assert ids[:length] == expected[:length]


@pytest.mark.parametrize("slots", [1, 4, 7])
def test_prompts_that_wait_take_the_places_of_replies_that_ended(model, slots):
    """Each reply against the same row alone; some end by themselves, others after the last step."""
    prompts = [[1 + row % 9] * (1 + row % 5) for row in range(40)]
    uniform = uniforms(40, 15, seed=(3,))
    told = []
    replies = sample_replies(
        model, prompts, sampling=Sampling(), uniform=uniform, end_id=7, pad_id=0, slots=slots, on_ended=told.append
    )
    assert sum(told) == 40
    assert 0 < replies.ended.sum() < 40
    for row, prompt in enumerate(prompts):
        steps = sample_steps(model, [prompt], sampling=Sampling(), uniform=uniform[row : row + 1])
        expected = [int(token) for token in steps]
        ended = 7 in expected
        expected = expected[: expected.index(7) + 1] if ended else expected
        assert replies.response_ids[row, replies.response_mask[row]].tolist() == expected
        assert bool(replies.ended[row]) == ended


def test_no_more_rows_are_in_the_cache_than_there_are_slots(model, monkeypatch):
    most = []
    step = generation.Decoder.step
    monkeypatch.setattr(generation.Decoder, "step", lambda decoder: most.append(decoder.cache.used) or step(decoder))
    prompts, uniform = [[1], [2, 3]] * 20, uniforms(40, 15, seed=(0,))
    sample_replies(model, prompts, sampling=Sampling(), uniform=uniform, end_id=7, pad_id=0, slots=8)
    assert max(most) == 8
    assert min(most[: len(most) // 2]) >= 6  # filled up while prompts wait


def test_rows_at_once_are_those_of_a_cache_of_384_mib():
    config = GPTConfig(50, 200, 30, 576, 9, num_kv_heads=3)
    with torch.device("meta"):
        model = GPT(config)
    model.token_embedding.weight = torch.nn.Parameter(torch.zeros(50, 576))
    row = 2 * 30 * 3 * 64 * 128 * 4  # keys and values, layers, heads, their size, tokens, bytes
    assert generation.rows_at_once(model, 128) == 3 * 2**27 // row == 68
    assert generation.rows_at_once(model, 20) == 256
    with torch.autocast("cpu", torch.bfloat16):
        assert generation.rows_at_once(model, 128) == 136


def test_drawn_frequencies_are_the_probabilities():
    logits = torch.tensor([0.5, 0.1, 0.25, 0.15]).log().expand(40_000, 4)
    counts = np.bincount(draw(logits, uniforms(40_000, 1, seed=(0,))[:, 0]).numpy(), minlength=4)
    expected = 40_000 * np.array([0.5, 0.1, 0.25, 0.15])
    assert ((counts - expected) ** 2 / expected).sum() < 16.27  # chi-square, 3 degrees of freedom, p = 0.001


# Ids of which a cumulative sum is taken; and more, of which it is of blocks, a whole number of them and not.
@pytest.mark.parametrize("size", [5, 64, 4096, 4160, 5000])
def test_draws_invert_the_cumulative_distribution(size):
    draws = np.random.default_rng(0)
    logits, uniform = draws.normal(0, 3, (400, size)), draws.random(400)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    cumulative = probabilities.cumsum(-1)
    expected = (cumulative <= uniform[:, None]).sum(-1).clip(max=size - 1)
    found = draw(torch.tensor(logits, dtype=torch.float32), torch.tensor(uniform, dtype=torch.float32)).numpy()
    on_an_edge = np.abs(cumulative - uniform[:, None]).min(-1) < 2e-6  # rounding may fall to either side
    assert on_an_edge.mean() < 0.05
    np.testing.assert_array_equal(found[~on_an_edge], expected[~on_an_edge])


def test_a_reply_depends_on_its_own_row_alone(model):
    prompts, uniform = [[1], [2, 3], [9, 8, 7, 6]], uniforms(3, 9, seed=(5,))

    def sample(rows):
        return sample_replies(
            model, [prompts[row] for row in rows], sampling=Sampling(), uniform=uniform[rows], end_id=60, pad_id=0
        )

    together, alone = sample([0, 1, 2]), sample([2])
    length = int(alone.response_mask.sum())
    assert together.response_mask[2].sum() == length
    assert torch.equal(together.response_ids[2, :length], alone.response_ids[0, :length])


def test_replies_of_no_token_are_refused(model):
    with pytest.raises(ValueError, match="no new token"):
        sample_replies(model, [[1, 2]], sampling=Sampling(), uniform=torch.zeros(1, 0), end_id=60, pad_id=0)


@pytest.mark.parametrize("size", [4, 6000])
def test_what_is_cut_is_never_drawn(size):
    logits = torch.full((1, size), -30.0)
    likely = [0, 1, 2, 3] if size == 4 else [500, 4100, 4101, 5999]
    logits[0, likely] = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    sampling = Sampling(top_p=0.65)
    cut = scaled_logits(logits, sampling, candidates(logits, sampling)).expand(500, size)
    assert set(draw(cut, uniforms(500, 1, seed=(0,))[:, 0]).tolist()) == set(likely[:2])
    assert set(draw(cut, torch.full((500,), 1 - 1e-7)).tolist()) == {likely[1]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_of_unit_mean_square_are_pytorchs_rms_norm(dtype):
    torch.manual_seed(0)
    x, slope = 3 * torch.randn(4, 5, 16), torch.randn(4, 5, 16)
    own = x.to(dtype).clone().requires_grad_()
    trained = unit_mean_square(own, 1e-6)
    trained.backward(slope.to(dtype))
    exact = x.double().requires_grad_()
    F.rms_norm(exact, (16,), eps=1e-6).backward(slope.double())
    near = {torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(own.grad.double(), exact.grad, atol=near, rtol=near)
    with torch.no_grad():  # another way, the same numbers
        assert torch.equal(trained, unit_mean_square(own, 1e-6))
    ours = unit_mean_square(own.detach(), 1e-6).double()
    torch.testing.assert_close(ours, F.rms_norm(exact.detach(), (16,), eps=1e-6), atol=near, rtol=near)
