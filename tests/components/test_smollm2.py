"""A real chat model: what it says, and an iteration of PPO on it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.models.adapters import trainable
from components.models.formats.checkpoint import choose_format, load_checkpoint
from components.models.heads import ScalarGPT
from components.sections.weights import Lora
from components.serving import ChatModel
from components.serving_input import Options
from tests.components.alignment import make_files, make_module, make_stage
from tests.smollm2 import GGUF, needs_smollm2

pytestmark = [pytest.mark.slow, needs_smollm2]
LORA = {"kind": "lora", "rank": 4, "alpha": 8.0}
ASKED = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """The model's folder, as `adopt` writes it."""
    root = tmp_path_factory.mktemp("adopted")
    model, found = load_checkpoint(GGUF)
    name, format = choose_format(found, "auto")
    assert name == "chatml"
    found.tokenizer.save(str(root / "tokenizer.json"))
    format.save(root)
    save_model(root / "model", model, root / "tokenizer.json")
    return root / "model"


def test_it_answers_what_transformers_answers_token_by_token(adopted):
    reply = "".join(ChatModel(adopted).stream(ASKED, Options(temperature=0.0, max_new_tokens=16)))
    assert reply == "The capital of France is Paris."
    theirs = AutoModelForCausalLM.from_pretrained(GGUF.parent, gguf_file=GGUF.name, dtype=torch.float32).eval()
    chat = load_tokenizer(adopted)
    fast = PreTrainedTokenizerFast(tokenizer_object=chat.tokenizer)
    fast.chat_template = chat.format.jinja()
    fast.backend_tokenizer.encode_special_tokens = False
    prompt = fast.apply_chat_template(ASKED, add_generation_prompt=True, return_dict=False)
    assert prompt == chat.encode_prompt(ASKED, max_tokens=1000)
    ids = theirs.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=chat.end)
    assert chat.decode(ids[0, len(prompt) :].tolist()) == reply


def test_an_iteration_of_ppo_moves_adapters_alone_and_begins_at_the_adopted_model(adopted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    shutil.rmtree("artifacts/sft/model")
    shutil.rmtree("artifacts/reward/model")
    shutil.copytree(adopted, "artifacts/sft/model")
    shutil.copy(adopted / "tokenizer.json", "artifacts/prepare/tokenizer.json")
    shutil.copy(adopted / "chat.json", "artifacts/prepare/chat.json")
    torch.manual_seed(0)
    reward = trainable(ScalarGPT.on(load_gpt(adopted)), Lora(**LORA))
    save_model(Path("artifacts/reward/model"), reward, adopted / "tokenizer.json")
    Path("artifacts/reward/metrics.json").write_text(json.dumps({"demonstrations": {"mean": 0.0, "std": 1.0}}))
    stage = make_stage(
        tmp_path, ppo__weights=LORA, limits__max_prompt_tokens=48, limits__context_length=128,
        ppo__pretraining_mix={"kind": "coefficient", "value": 0.0}, ppo__policy__learning_rate=0.001,
    )  # fmt: skip
    module = make_module(stage, max_tokens=48)
    trunk = {name: weight.clone() for name, weight in module.frozen["reference"].state_dict().items()}
    assert module.policy.token_embedding.weight is module.frozen["reference"].token_embedding.weight
    assert module.value.body.token_embedding.weight is module.frozen["reference"].token_embedding.weight
    figures = module.iterate()
    assert figures["rollout/kl_per_reply"] == pytest.approx(0, abs=1e-3)
    assert figures["update/first_ratio_deviation"] < 1e-3
    assert all(torch.equal(weight, trunk[name]) for name, weight in module.frozen["reference"].state_dict().items())
    ups = [weight for name, weight in module.policy.named_parameters() if name.endswith(".up")]
    assert len(ups) == 30 * 4 and all(bool(up.any()) for up in ups)
