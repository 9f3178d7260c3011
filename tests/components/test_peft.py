"""Adapters of peft as model folders: by hand, against peft itself where it is installed, and what is refused."""

import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from components import convert
from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.models.families.keys import FormatError
from components.models.formats.checkpoint import digest_of
from components.models.formats.peft_export import export_adapter
from components.models.formats.peft_folder import PeftFolder, base_of
from components.models.formats.transformers_format import import_model
from components.models.transformer import GPT
from tests.components.chatting import make_models
from tests.components.families import CONFIGS, randomize

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"
GPT2 = "transformer.h.1.attn.c_proj"  # square, so that a wrongly transposed one passes every check of shapes


def base(folder, name):
    torch.manual_seed(0)
    randomize(AutoModelForCausalLM.from_config(CONFIGS[name])).save_pretrained(folder)
    return folder


def adapters(folder, widths, *, said=None, rank=3):
    """Adapters of some modules of `../base`, each of a width."""
    draws = torch.Generator().manual_seed(1)
    tensors = {}
    for module, (into, out) in widths.items():
        for half, shape in (("A", (rank, into)), ("B", (out, rank))):
            tensors[f"base_model.model.{module}.lora_{half}.weight"] = torch.randn(shape, generator=draws)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 12, "bias": "none",
              "base_model_name_or_path": "somewhere/base", "target_modules": [m.split(".")[-1] for m in widths],
              "lora_dropout": 0.1, "use_dora": False, "modules_to_save": None}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config | (said or {})))
    return folder


@pytest.mark.parametrize(
    ("said", "scale"), [({}, 4.0), ({"use_rslora": True}, 12 / 3**0.5), ({"alpha_pattern": {"q_proj|c_proj": 6}}, 2.0)]
)
@pytest.mark.parametrize(("name", "module", "width"), [("llama", Q, 60), ("gpt2", GPT2, 36)])
def test_an_adapter_by_hand(tmp_path, name, module, width, said, scale):
    """W + scale B A, in float64; GPT-2 keeps W as [in, out]."""
    base(tmp_path / "base", name)
    folder = adapters(tmp_path / "adapter", {module: (width, width)}, said=said)
    stored = load_file(folder / "adapter_model.safetensors")
    down, up = (stored[f"base_model.model.{module}.lora_{half}.weight"].double().numpy() for half in "AB")
    added = scale * up @ down
    before = load_file(tmp_path / "base/model.safetensors")
    expected = before[f"{module}.weight"].double().numpy() + (added.T if name == "gpt2" else added)
    found = PeftFolder(folder)
    np.testing.assert_allclose(found.tensor(f"{module}.weight").numpy(), expected, atol=1e-5)
    for other in set(before) - {f"{module}.weight"}:
        assert torch.equal(found.tensor(other), before[other])


CASES = [
    ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"]}),
    ("llama", {"target_modules": ["q_proj", "v_proj", "down_proj"], "use_rslora": True}),
    ("llama-2", {"target_modules": "all-linear", "rank_pattern": {"self_attn.k_proj": 5, r"layers\.1\.mlp\.\w+": 2},
                 "alpha_pattern": {"up_proj": 3}}),
    ("neox", {"target_modules": r".*\.(query_key_value|dense_4h_to_h)", "layers_to_transform": None}),
    ("mistral", {"target_modules": ["o_proj"], "layers_to_transform": [1]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), CASES, ids=[name for name, _ in CASES])
def test_logits_are_those_of_peft(tmp_path, name, settings):
    peft = pytest.importorskip("peft", reason="peft, which judges adapters, is not installed: pip install '.[dev]'")
    origin = base(tmp_path / "base", name)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, **settings)
    trained = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(origin), config)
    for key, weight in trained.named_parameters():
        if "lora_" in key:
            torch.nn.init.normal_(weight, std=0.2)
    trained.save_pretrained(tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(origin, dtype=torch.float32)
    judge = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().eval()
    ours = import_model(tmp_path / "adapter")
    ids = torch.randint(0, 83, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = judge(ids).logits
        torch.testing.assert_close(ours.logits(ours(ids)), expected, atol=1e-5, rtol=1e-5)
        alone = import_model(origin)
        assert not torch.allclose(alone.logits(alone(ids)), expected, atol=0.1)


def test_the_command_makes_a_model_folder_of_adapters_over_an_exported_model(monkeypatch, tmp_path, capsys):
    """Tokenizer and chat format are the base's where the adapters bring none."""
    chat = make_models(tmp_path) / "chat"
    convert.export_folder(chat, tmp_path / "base")
    width = load_gpt(chat).config.width
    adapters(tmp_path / "adapter", {GPT2.replace(".1.", ".0."): (width, width)})
    monkeypatch.setattr(sys, "argv", ["convert", "import", str(tmp_path / "adapter"), str(tmp_path / "own")])
    convert.main()
    assert load_tokenizer(tmp_path / "own").format == load_tokenizer(chat).format
    before, after = load_gpt(chat).state_dict(), load_gpt(tmp_path / "own").state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "blocks.0.attention.projection.weight"
    ]


def test_what_would_compute_otherwise_is_named_all_at_once(tmp_path):
    base(tmp_path / "base", "llama")
    said = {"peft_type": "LORA", "task_type": "SEQ_CLS", "use_dora": True, "modules_to_save": ["lm_head"],
            "bias": "all", "init_lora_weights": "pissa", "layer_replication": [[0, 2]], "anew": {"x": 1}}  # fmt: skip
    folder = adapters(tmp_path / "adapter", {Q: (60, 60), "model.embed_tokens.lora": (1, 1)}, said=said)
    with pytest.raises(FormatError) as error:
        import_model(folder)
    for word in ("'SEQ_CLS'", "use_dora", "modules_to_save", "bias is 'all'", "'pissa'", "layer_replication",
                 "anew", "without a place in the base: base_model.model.model.embed_tokens"):  # fmt: skip
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"r": 4}, r"has the ranks 3 and 3, the configuration says 4"),
        ({"target_modules": ["q_proj", "o_proj"]}, "nothing of the target module o_proj"),
        ({"target_modules": ["v_proj"]}, "q_proj is none of target_modules"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ],
)
def test_tensors_that_the_configuration_does_not_tell_of_are_named(tmp_path, said, words):
    base(tmp_path / "base", "llama")
    with pytest.raises(FormatError, match=words):
        import_model(adapters(tmp_path / "adapter", {Q: (60, 60)}, said=said))


def test_a_head_that_is_the_embedding_takes_no_adapter(tmp_path):
    """To peft it is one of its own from then on; here the embedding would have to change with it, or nothing would."""
    base(tmp_path / "base", "llama-2")
    tensors = load_file(tmp_path / "base/model.safetensors")
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file(tensors | head, tmp_path / "base/model.safetensors")
    with pytest.raises(FormatError, match=r"without a place in the base: .*lm_head"):
        import_model(adapters(tmp_path / "adapter", {"lm_head": (60, 83)}))


def test_files_that_are_missing_or_in_the_way_are_named(tmp_path):
    folder = adapters(tmp_path / "adapter", {Q: (60, 60)})
    with pytest.raises(FormatError, match=r"of 'somewhere/base', which is no folder here: put it beside, as .*base"):
        base_of(folder)
    base(tmp_path / "base", "llama")
    digest = digest_of(folder)
    (tmp_path / "base/config.json").write_text((tmp_path / "base/config.json").read_text() + " ")
    assert digest_of(folder) != digest  # its base is a part of it
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FormatError, match=r"adapter_model\.bin is a pickle"):
        import_model(folder)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(FormatError, match="adapters and a whole model"):
        import_model(folder)
    (folder / "model.safetensors").unlink()
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"adapter_model\.safetensors cannot be read"):
        import_model(folder)


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_what_training_added_leaves_as_adapters_that_peft_computes_alike(tmp_path, name):
    """Matrices of rank 1 to 3 added to some of the base; peft over the folder has the trained model's logits."""
    peft = pytest.importorskip("peft", reason="peft, which judges adapters, is not installed: pip install '.[dev]'")
    trained, origin = import_model(base(tmp_path / "base", name)), import_model(tmp_path / "base")
    draws = torch.Generator().manual_seed(2)
    changed = [(key, w) for key, w in trained.named_parameters() if key.startswith("blocks.") and w.ndim == 2][::2]
    with torch.no_grad():
        for i, (_, weight) in enumerate(changed):
            rank = 1 + i % 3
            halves = [torch.randn(shape, generator=draws) for shape in ((len(weight), rank), (rank, weight.shape[1]))]
            weight += 0.1 * halves[0] @ halves[1]
    export_adapter(trained, origin, tmp_path / "adapter", base_name=str(tmp_path / "base"))
    said = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert said["r"] == 3
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    judge = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    ids = torch.randint(0, 83, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for model in (trained, import_model(tmp_path / "adapter")):  # and what comes in again is what left
            torch.testing.assert_close(judge(ids).logits, model.logits(model(ids)), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(judge(ids).logits, origin.logits(origin(ids)), atol=0.1)


def test_what_no_adapters_can_say_is_refused(tmp_path):
    origin = import_model(base(tmp_path / "base", "llama"))
    write = partial(export_adapter, base=origin, folder=tmp_path / "adapter", base_name="base")
    with pytest.raises(FormatError, match="nothing differs"):
        write(origin)
    trained = import_model(tmp_path / "base")
    with torch.no_grad():
        for weight in trained.parameters():
            weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(FormatError) as error:
        write(trained)
    assert "model.embed_tokens.weight differs, which is no matrix with an adapter" in str(error.value)
    assert "more): export the model whole" in str(error.value)
    other = GPT(replace(origin.config, vocab_size=origin.config.vocab_size + 1))
    with pytest.raises(FormatError, match="another network: vocab_size is 83 there, 84 in the model"):
        write(other)
    assert not (tmp_path / "adapter").exists()


def test_the_command_writes_adapters_over_an_exported_base(monkeypatch, tmp_path):
    chat = make_models(tmp_path) / "chat"
    convert.export_folder(chat, tmp_path / "base")
    model = load_gpt(chat)
    with torch.no_grad():
        model.blocks[0].attention.projection.weight[:, 3] += 0.25
    save_model(tmp_path / "tuned", model, chat / "tokenizer.json")
    load_tokenizer(chat).format.save(tmp_path / "tuned")
    words = ["convert", "export", str(tmp_path / "tuned"), str(tmp_path / "adapter"), "--adapter-of"]
    monkeypatch.setattr(sys, "argv", [*words, str(chat)])
    with pytest.raises(SystemExit, match="export it first"):
        convert.main()
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path / "base")])
    convert.main()
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == convert.ADAPTER_FILES
    convert.import_folder(tmp_path / "adapter", tmp_path / "back")
    back = load_gpt(tmp_path / "back").state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(back[name], weight, atol=1e-6, rtol=0)
