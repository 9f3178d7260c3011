"""GPT-2's stored form against transformers itself, each side reading in a process of its own."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from components.checkpoints import load_gpt, save_model
from components.convert import export_folder, import_folder
from components.data.chat import ChatTokenizer
from components.data.tokenizer import train_tokenizer
from components.models.gpt2_format import FormatError, import_gpt2
from components.models.sizes import GPTConfig
from components.models.transformer import GPT
from tests.contracts.imports import ROOT

IDS = [[5, 1, 7, 300, 12, 9, 2], [0, 3, 3, 3, 250, 1, 8]]
READ_WITH_TRANSFORMERS = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
chat = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "ok"}]
with torch.no_grad():
    print(json.dumps({
        "logits": model(torch.tensor(json.loads(sys.argv[2]))).logits.tolist(),
        "chat": tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"],
        "end": tokenizer.eos_token_id,
    }))
"""
READ_WITH_OURS = """
import json, sys, torch
from pathlib import Path
from components.checkpoints import load_gpt
model = load_gpt(Path(sys.argv[1]))
with torch.no_grad():
    print(json.dumps({"logits": model.logits(model(torch.tensor(json.loads(sys.argv[2])))).tolist()}))
"""


def read(script, folder):
    command = [sys.executable, "-c", script, str(folder), json.dumps(IDS)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def randomize(model):
    for parameter in model.parameters():  # zero biases and unit gains would hide a misplaced one
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "tokenizer.json"
    train_tokenizer(["hello there, how are you?", "hi, ok then"] * 5, vocab_size=320).save(str(path))
    return path


def test_transformers_computes_the_logits_of_an_exported_model(tmp_path, tokenizer):
    torch.manual_seed(0)
    vocabulary = ChatTokenizer.load(tokenizer)
    model = randomize(GPT(GPTConfig(vocabulary.vocab_size, 16, 2, 32, 4)))
    save_model(tmp_path / "ours", model, tokenizer)
    export_folder(tmp_path / "ours", tmp_path / "theirs")
    ids = [[i % vocabulary.vocab_size for i in row] for row in IDS]
    found = read(READ_WITH_TRANSFORMERS.replace("json.loads(sys.argv[2])", repr(ids)), tmp_path / "theirs")
    with torch.no_grad():
        expected = model.logits(model(torch.tensor(ids)))
    torch.testing.assert_close(torch.tensor(found["logits"]), expected, atol=1e-5, rtol=1e-5)
    chat = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "ok"}]  # fmt: skip
    assert found["chat"] == vocabulary.encode_prompt(chat, max_tokens=99)
    assert found["end"] == vocabulary.end


def test_an_imported_model_computes_the_logits_of_transformers(tmp_path, tokenizer):
    torch.manual_seed(1)
    theirs = randomize(GPT2LMHeadModel(GPT2Config(vocab_size=310, n_positions=16, n_embd=32, n_layer=2, n_head=4)))
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs/tokenizer.json").write_text(tokenizer.read_text())
    import_folder(tmp_path / "theirs", tmp_path / "ours")
    with torch.no_grad():
        expected = theirs(torch.tensor(IDS)).logits
    found = torch.tensor(read(READ_WITH_OURS, tmp_path / "ours")["logits"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_weights_come_back_bit_for_bit(tmp_path, tokenizer):
    model = randomize(GPT(GPTConfig(ChatTokenizer.load(tokenizer).vocab_size, 16, 2, 32, 4)))
    save_model(tmp_path / "a", model, tokenizer)
    export_folder(tmp_path / "a", tmp_path / "b")
    import_folder(tmp_path / "b", tmp_path / "c")
    back = load_gpt(tmp_path / "c").state_dict()
    assert all(torch.equal(weight, back[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(("key", "value", "words"), [
    ("activation_function", "relu", "activation_function is 'relu'"),
    ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx is True"),
    ("n_inner", 64, "n_inner is 64"),
    ("n_layer", 3, "does not fit"),
])  # fmt: skip
def test_another_network_is_refused_by_name(tmp_path, key, value, words):
    GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=8, n_embd=32, n_layer=2, n_head=4)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(FormatError, match=words):
        import_gpt2(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match=r"config\.json"):
        import_gpt2(tmp_path)
