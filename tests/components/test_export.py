"""An exported model with its tokenizer and chat template, read by transformers in a process of its own."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from components.checkpoints import load_gpt, save_model
from components.convert import export_folder, import_folder
from components.data.chat import ChatTokenizer
from components.data.tokenizer import train_tokenizer
from components.models.config import GPTConfig
from components.models.families.family import layouts
from components.models.families.keys import FormatError
from components.models.formats.transformers_format import export_scalar
from components.models.heads import ScalarGPT
from components.models.transformer import GPT
from tests.components.families import CONFIGS, randomize
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


def read(script, folder):
    command = [sys.executable, "-c", script, str(folder), json.dumps(IDS)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


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


def test_weights_come_back_bit_for_bit(tmp_path, tokenizer):
    model = randomize(GPT(GPTConfig(ChatTokenizer.load(tokenizer).vocab_size, 16, 2, 32, 4)))
    save_model(tmp_path / "a", model, tokenizer)
    export_folder(tmp_path / "a", tmp_path / "b")
    import_folder(tmp_path / "b", tmp_path / "c")
    back = load_gpt(tmp_path / "c").state_dict()
    assert all(torch.equal(weight, back[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("name", ["gpt1", "gpt2", "llama-2", "qwen2", "neox"])
def test_transformers_scores_what_an_exported_reward_model_scores(tmp_path, name):
    torch.manual_seed(0)
    said = AutoModelForCausalLM.from_config(CONFIGS[name]).config.to_dict()
    model = randomize(ScalarGPT(layouts()[said["model_type"]].read(said)))
    export_scalar(model, tmp_path / "reward", end_id=2, pad_id=1)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", dtype=torch.float32).eval()
    ids = torch.randint(3, 83, (4, 9))
    lengths = torch.tensor([9, 4, 7, 1])
    padded = ids.masked_fill(torch.arange(9) >= lengths[:, None], 1)
    mask = (padded != 1).long()
    with torch.no_grad():
        found = theirs(padded, attention_mask=mask).logits[:, 0]
        expected = model(padded)[torch.arange(4), lengths - 1]
    torch.testing.assert_close(found + theirs.config.reward_offset, expected, atol=1e-5, rtol=1e-5)


def test_a_family_that_transformers_cannot_score_with_is_named(tmp_path):
    said = AutoModelForCausalLM.from_config(CONFIGS["nanochat"]).config.to_dict()
    with pytest.raises(FormatError, match="no sequence classification of the family nanochat"):
        export_scalar(ScalarGPT(layouts()["nanochat"].read(said)), tmp_path, end_id=2, pad_id=1)


def test_the_card_tells_what_made_a_model(tmp_path, tokenizer):
    model = randomize(GPT(GPTConfig(ChatTokenizer.load(tokenizer).vocab_size, 16, 2, 32, 4)))
    save_model(tmp_path / "ppo/model", model, tokenizer, precision="32-true")
    record = {"stage": "ppo", "run_id": "r1", "model_name": "gpt-ppo", "model_version": "7", "tracking": "complete",
              "duration_seconds": 1.0, "peak_memory_gib": 1.0}  # fmt: skip
    (tmp_path / "ppo/run.json").write_text(json.dumps(record))
    (tmp_path / "ppo/metrics.json").write_text(json.dumps({"rollout": {"score": 1.5}}))
    gates = {"ppo": {"verdict": "passed", "run_id": "r1"}}
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate/run.json").write_text(json.dumps(record | {"stage": "evaluate", "gates": gates}))
    export_folder(tmp_path / "ppo/model", tmp_path / "out")
    page = (tmp_path / "out/README.md").read_text()
    for words in ("# gpt-ppo", "version 7", "2 layers, width 32", "| rollout.score | 1.5 |", "Gate: passed", "32-true"):
        assert words in page
