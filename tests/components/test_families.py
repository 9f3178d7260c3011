"""Every family against transformers: the same logits from the same files, each side reading in a process of its own."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.losses.sampling import Sampling
from components.models.config import from_plain, to_plain
from components.models.families.family import layouts
from components.models.families.keys import FormatError
from components.models.formats.transformers_format import export_model, import_model
from components.models.generation import sample_steps
from components.models.transformer import GPT, count_parameters
from tests.components.families import CONFIGS, randomize
from tests.contracts.imports import ROOT

READ = """
import json, sys, torch
from pathlib import Path
{load}
found = {{}}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    with torch.no_grad():
        found[folder.name] = logits(folder, torch.tensor(json.loads(sys.argv[2]))).tolist()
print(json.dumps(found))
"""
THEIRS = """
from transformers import AutoModelForCausalLM
logits = lambda folder, ids: AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()(ids).logits
"""
OURS = """
from components.models.formats.transformers_format import import_model
def logits(folder, ids):
    model = import_model(folder)
    return model.logits(model(ids))
"""


def ids_of(length):
    return torch.randint(0, 83, (2, length), generator=torch.Generator().manual_seed(0))


def read(load, folder):
    command = [sys.executable, "-c", READ.format(load=load), str(folder), json.dumps(ids_of(40).tolist())]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name: torch.tensor(logits) for name, logits in json.loads(output.splitlines()[-1]).items()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder that transformers wrote for each configuration; and for each the folder that we made of it."""
    root = tmp_path_factory.mktemp("stored")
    for number, (name, config) in enumerate(CONFIGS.items()):
        torch.manual_seed(number)
        randomize(AutoModelForCausalLM.from_config(config)).save_pretrained(root / "theirs" / name)
        export_model(import_model(root / "theirs" / name), root / "ours" / name, end_id=2, pad_id=1)
    return root


def test_logits_of_what_is_imported_and_exported_are_those_of_transformers(stored):
    expected = read(THEIRS, stored / "theirs")
    assert expected.keys() == CONFIGS.keys()
    for found in (read(OURS, stored / "theirs"), read(THEIRS, stored / "ours")):
        for name, logits in expected.items():
            torch.testing.assert_close(
                found[name], logits, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize("name", CONFIGS)
def test_cached_generation_to_the_end_of_the_context_is_a_whole_pass_each_time(stored, name):
    model = import_model(stored / "theirs" / name)
    prompts = [ids_of(40)[0, :1].tolist(), ids_of(40)[0, :9].tolist(), ids_of(40)[1, :5].tolist()]
    steps = list(sample_steps(model, prompts, sampling=Sampling(temperature=0.0), uniform=torch.zeros(3, 31)))
    for prompt, reply in zip(prompts, torch.stack(steps, dim=1).tolist(), strict=True):
        with torch.no_grad():
            logits = model.logits(model(torch.tensor([prompt + reply])))[0, len(prompt) - 1 : -1]
        best = logits.max(dim=-1).values
        chosen = logits.gather(1, torch.tensor(reply)[:, None])[:, 0]
        assert (best - chosen).max() < 1e-4  # two tokens may be equally likely but for rounding


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_comes_back_from_json(stored, name):
    config = import_model(stored / "theirs" / name).config
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config


def test_shards_and_half_precision_are_read(tmp_path):
    torch.manual_seed(0)
    theirs = randomize(AutoModelForCausalLM.from_config(CONFIGS["llama"])).to(torch.bfloat16)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    found = import_model(tmp_path)
    assert all(weight.dtype == torch.float32 for weight in found.parameters())
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()(ids_of(7)).logits
    torch.testing.assert_close(found.logits(found(ids_of(7))), expected, atol=1e-5, rtol=1e-5)
    sorted(tmp_path.glob("model-*.safetensors"))[0].unlink()
    with pytest.raises(FormatError, match=r"lacks model-00001"):
        import_model(tmp_path)


# Published: arXiv:2307.09288, 2310.06825, 2407.10671, 2304.01373 (table 1), model cards of SmolLM2 and TinyLlama.
def said_by(model_type, vocabulary, layers, width, heads, hidden, context, **others):
    return {
        "model_type": model_type, "vocab_size": vocabulary, "num_hidden_layers": layers, "hidden_size": width,
        "num_attention_heads": heads, "intermediate_size": hidden, "max_position_embeddings": context, **others,
    }  # fmt: skip


@pytest.mark.parametrize(("said", "parameters"), [
    (said_by("llama", 49152, 30, 576, 9, 1536, 8192, num_key_value_heads=3, rope_theta=1e5, tie_word_embeddings=True),
     134_515_008),
    (said_by("llama", 32000, 32, 4096, 32, 11008, 4096), 6_738_415_616),
    (said_by("llama", 32000, 22, 2048, 32, 5632, 2048, num_key_value_heads=4), 1_100_048_384),
    (said_by("mistral", 32000, 32, 4096, 32, 14336, 32768, num_key_value_heads=8, sliding_window=4096), 7_241_732_096),
    (said_by("qwen2", 151936, 24, 896, 14, 4864, 32768, num_key_value_heads=2, use_sliding_window=False,
             sliding_window=32768, tie_word_embeddings=True), 494_032_768),
    (said_by("gpt_neox", 50304, 6, 512, 8, 2048, 2048, rotary_pct=0.25, rotary_emb_base=10000), 70_426_624),
])  # fmt: skip
def test_parameter_counts_are_the_published_ones(said, parameters):
    config = layouts()[said["model_type"]].read(said)
    with torch.device("meta"):
        assert count_parameters(GPT(config)) == parameters
    assert config.context_length == min(said["max_position_embeddings"], said.get("sliding_window", 10**9))


def test_what_is_not_computed_is_refused_all_at_once_by_name():
    said = CONFIGS["llama"].to_dict() | {
        "hidden_act": "gelu", "num_key_value_heads": 2, "rope_parameters": {"rope_type": "yarn", "factor": 2.0},
        "attn_logit_softcapping": 50.0, "rms_norm_eps": "small",
    }  # fmt: skip
    with pytest.raises(FormatError) as caught:
        layouts()["llama"].read(said)
    for words in (
        "hidden_act is 'gelu'",
        "5 num_attention_heads",
        "rope scaling 'yarn'",
        "attn_logit_softcapping",
        "rms_norm_eps",
    ):
        assert words in str(caught.value)


def test_an_unknown_family_a_pickle_and_foreign_weights_are_refused(stored, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FormatError, match="is a pickle"):
        import_model(folder)
    (folder / "model.safetensors").write_bytes((stored / "theirs/llama/model.safetensors").read_bytes())
    with pytest.raises(FormatError, match=r"'mamba'; .*gpt2, .*llama"):
        import_model(folder)
    said = json.loads((stored / "theirs/llama/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"num_hidden_layers": 3}))
    with pytest.raises(FormatError, match=r"missing: model\.layers\.2"):
        import_model(folder)
    (folder / "config.json").write_text(json.dumps(said | {"num_hidden_layers": 1}))
    with pytest.raises(FormatError, match=r"without a place: model\.layers\.1"):
        import_model(folder)


def test_no_position_beyond_a_sliding_window_is_computed():
    said = CONFIGS["mistral"].to_dict() | {"sliding_window": 12}
    config = layouts()["mistral"].read(said)
    assert config.context_length == 12
    with pytest.raises(ValueError, match="context of 12"):
        GPT(replace(config, num_layers=1))(torch.zeros(1, 13, dtype=torch.long))
