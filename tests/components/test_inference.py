"""A model to sample from says what the model itself says under autocast."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.models import inference
from components.models.adapters import trainable
from components.models.families.family import layouts
from components.models.inference import for_sampling
from components.models.precision import autocast
from components.models.transformer import GPT
from components.sections.weights import Lora
from tests.components.families import CONFIGS, randomize

IDS = torch.randint(0, 83, (3, 17), generator=torch.Generator().manual_seed(0))


def network(name):
    torch.manual_seed(0)
    said = AutoModelForCausalLM.from_config(CONFIGS[name]).config.to_dict()
    return randomize(GPT(layouts()[said["model_type"]].read(said)))


def sampler_of(model, precision, rows=3):
    with autocast(precision, "cpu"):
        return for_sampling(model, rows=rows, steps=32)


def logits_of(model, precision):
    with torch.no_grad(), autocast(precision, "cpu"):
        return model.logits(model(IDS))


@pytest.mark.parametrize("name", ["gpt2", "gpt2-wide", "llama-2", "neox", "nanochat"])
def test_weights_cast_once_are_the_weights_cast_each_time(name):
    model = network(name)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    sampler = sampler_of(model, "bf16-mixed")
    assert torch.equal(logits_of(sampler, "bf16-mixed"), logits_of(model, "bf16-mixed"))
    assert sampler.blocks[0].attention.qkv.weight.dtype == torch.bfloat16
    assert model.config.tied is (name in ("gpt2", "llama-2"))
    assert all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())
    assert sampler.token_embedding.weight is model.token_embedding.weight
    assert sampler_of(model, "32-true") is model


@pytest.mark.parametrize(("rows", "steps", "size"), [(7, 32, 2**28), (8, 31, 2**28), (8, 32, 1000)])
def test_weights_lie_as_they_are_where_another_order_would_not_pay(rows, steps, size, monkeypatch):
    monkeypatch.setattr(inference, "BYTES_LAID_OUT", size)
    model = network("gpt2")
    assert for_sampling(model, rows=rows, steps=steps) is model


@pytest.mark.parametrize("name", ["gpt2", "gpt2-wide", "llama-2", "neox", "nanochat"])
def test_of_many_rows_weights_lie_as_products_read_them(name):
    model = network(name)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    sampler = sampler_of(model, "32-true", rows=8)
    torch.testing.assert_close(logits_of(sampler, "32-true"), logits_of(model, "32-true"), atol=1e-5, rtol=1e-5)
    assert sampler.output.weight.t().is_contiguous() and sampler.blocks[0].attention.qkv.weight.t().is_contiguous()
    assert all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())
    assert all(weight.is_contiguous() for weight in model.parameters())
    assert sampler.token_embedding.weight is model.token_embedding.weight


@pytest.mark.parametrize("rows", [3, 8])
@pytest.mark.parametrize("name", ["gpt2", "llama-3", "nanochat-shared"])
def test_adapters_are_merged_and_go_on_training_where_they_are(name, rows):
    model = trainable(network(name), Lora(kind="lora", rank=3, alpha=6.0))
    for key, weight in model.named_parameters():
        if key.endswith(".up"):
            torch.nn.init.normal_(weight, std=0.1)
    merged = sampler_of(model, "32-true", rows)
    assert merged.blocks[0].attention.qkv.weight.t().is_contiguous() is (rows == 8)
    torch.testing.assert_close(logits_of(merged, "32-true"), logits_of(model, "32-true"), atol=1e-4, rtol=1e-4)
    assert not any(key.endswith(".up") for key, _ in merged.named_parameters())
    assert all(weight.requires_grad for key, weight in model.named_parameters() if key.endswith((".up", ".down")))
    assert any(key.endswith(".up") for key, _ in model.named_parameters())
    half = sampler_of(model, "bf16-mixed")
    close = (logits_of(half, "bf16-mixed") - logits_of(model, "32-true")).abs().mean()
    assert close < 0.1 * logits_of(model, "32-true").std()
