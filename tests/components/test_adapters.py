"""Low-rank adapters: the map they compute, what is shared, what trains, and their way through files."""

from dataclasses import replace

import pytest
import torch

from components.checkpoints import load_gpt, load_scalar, save_model
from components.models.adapters import LoraLinear, merged, shared_copy, trainable
from components.models.config import GPTConfig
from components.models.heads import ScalarGPT
from components.models.transformer import GPT
from components.sections.optimizer import Optimizer
from components.sections.weights import Full, Lora
from components.training.optim import build_optimizers
from tests.components.alignment import steady

CONFIG = GPTConfig(vocab_size=50, context_length=16, num_layers=2, width=24, num_heads=2)
LORA = Lora(kind="lora", rank=3, alpha=6.0)
IDS = torch.arange(20).view(2, 10)


def disturbed(model):
    """The model with adapters that no longer add nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoraLinear):
                module.up.normal_(std=0.1)
    return model


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return GPT(CONFIG)


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    return path


def storages(*models):
    return {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for m in models for p in m.parameters()}


def test_the_map_is_the_papers_equation():
    torch.manual_seed(0)
    frozen = torch.nn.Linear(5, 4)
    adapted = LoraLinear(frozen, rank=2, alpha=8.0)
    with torch.no_grad():
        adapted.up.normal_()
    x = torch.randn(3, 5)
    w, b, down, up = (t.detach().double().numpy() for t in (frozen.weight, frozen.bias, adapted.down, adapted.up))
    expected = x.double().numpy() @ (w + 8.0 / 2 * up @ down).T + b
    torch.testing.assert_close(adapted(x).double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_an_untrained_adapter_changes_nothing(trunk):
    torch.testing.assert_close(trainable(trunk, LORA)(IDS), trunk(IDS), atol=0, rtol=0)


def test_all_weights_of_the_model_itself_train_without_an_adapter(trunk):
    assert trainable(trunk, Full(kind="full")) is trunk
    assert all(p.requires_grad for p in trunk.parameters())


def test_adapters_and_head_train_and_nothing_else(trunk):
    model = trainable(ScalarGPT.on(trunk), LORA)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {
        f"body.blocks.{layer}.{place}.{part}"
        for layer in (0, 1)
        for place in ("attention.qkv", "attention.projection", "mlp.0", "mlp.2")
        for part in ("down", "up")
    } | {"head.weight"}
    # Four maps a layer: 24 -> 72, 24 -> 24, 24 -> 96, 96 -> 24.
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * 3 * (96 + 48 + 120 + 120) + 24


def test_tokens_never_seen_before_can_be_learned(trunk):
    before = trunk.token_embedding.weight.clone()
    model = trainable(trunk, LORA, new_tokens=True)
    assert model.token_embedding.weight.requires_grad
    with torch.no_grad():
        model.token_embedding.weight.add_(1.0)
    torch.testing.assert_close(trunk.token_embedding.weight, before, atol=0, rtol=0)
    torch.testing.assert_close(merged(disturbed(model))(IDS), model(IDS), atol=1e-5, rtol=1e-5)


def test_new_tokens_are_learned_by_a_head_of_its_own_too():
    torch.manual_seed(0)
    trunk = GPT(replace(CONFIG, tied=False))
    model = trainable(trunk, LORA, new_tokens=True)
    assert model.output.weight.requires_grad and not trunk.output.weight.requires_grad
    assert trainable(trunk, LORA).output.weight is trunk.output.weight


def test_muon_leaves_adapters_to_adamw(trunk):
    muon = Optimizer(**{**steady(0.1), "name": "muon", "matrix_learning_rate": 0.1})
    (adam,) = build_optimizers(trainable(trunk, LORA), muon)
    assert isinstance(adam, torch.optim.AdamW)
    assert len([p for group in adam.param_groups for p in group["params"]]) == 2 * 4 * 2


def test_four_networks_hold_one_trunk(trunk):
    reward = disturbed(trainable(ScalarGPT.on(trunk), LORA)).requires_grad_(False)
    policy, value = trainable(trunk, LORA), trainable(reward, LORA)
    own = sum(p.numel() for m in (policy, value) for p in m.parameters() if p.requires_grad) * 4
    frozen_adapter = sum(p.numel() for name, p in reward.named_parameters() if name.endswith(("down", "up"))) * 4
    heads = (24 + 1) * 4 + 4  # the reward model's head, and the value head's bias; its weight is in `own`
    whole = sum(p.numel() for p in trunk.parameters()) * 4
    assert sum(storages(trunk, reward, policy, value).values()) == whole + own + frozen_adapter + heads


def test_the_value_network_begins_as_the_reward_model_and_leaves_it_alone(trunk):
    reward = disturbed(trainable(ScalarGPT.on(trunk), LORA)).requires_grad_(False)
    value = trainable(reward, LORA)
    before = reward(IDS).clone()
    torch.testing.assert_close(value(IDS), before, atol=0, rtol=0)
    optimizer = torch.optim.SGD([p for p in value.parameters() if p.requires_grad], lr=0.1)
    value(IDS).square().sum().backward()
    optimizer.step()
    assert (value(IDS) - before).abs().max() > 1e-4
    torch.testing.assert_close(reward(IDS), before, atol=0, rtol=0)


def test_merged_weights_compute_the_same(trunk):
    model = disturbed(trainable(trunk, LORA))
    plain = merged(model)
    assert not any(isinstance(module, LoraLinear) for module in plain.modules())
    torch.testing.assert_close(plain(IDS), model(IDS), atol=1e-5, rtol=1e-5)
    assert (plain(IDS) - trunk(IDS)).abs().max() > 1e-2


def test_a_twin_shares_what_is_frozen_alone(trunk):
    model = trainable(trunk, LORA)
    copied = shared_copy(model)
    for (name, one), (_, other) in zip(model.named_parameters(), copied.named_parameters(), strict=True):
        assert (one is other) == (not one.requires_grad), name


def test_files_give_the_merged_model_or_the_adapter_on_its_trunk(trunk, tokenizer, tmp_path):
    model = disturbed(trainable(ScalarGPT.on(trunk), LORA))
    save_model(tmp_path / "model", model, tokenizer)
    plain = load_scalar(tmp_path / "model")
    shared = load_scalar(tmp_path / "model", trunk)
    torch.testing.assert_close(plain(IDS), model(IDS), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared(IDS), model(IDS), atol=0, rtol=0)
    assert shared.body.token_embedding.weight is trunk.token_embedding.weight
    assert plain.body.token_embedding.weight is not trunk.token_embedding.weight
    other = GPT(CONFIG)  # another trunk: the adapter would be wrong on it
    assert not any(isinstance(module, LoraLinear) for module in load_scalar(tmp_path / "model", other).modules())


def test_a_language_model_comes_back_from_its_file(trunk, tokenizer, tmp_path):
    model = disturbed(trainable(trunk, LORA))
    save_model(tmp_path / "model", model, tokenizer)
    torch.testing.assert_close(load_gpt(tmp_path / "model")(IDS), model(IDS), atol=1e-5, rtol=1e-5)
