"""GPT-2 as openai/gpt-2 released it: a tiny checkpoint that TensorFlow 2 wrote, against transformers.

tests/components/released/ holds two layers of width 8. Their numbers are drawn here once more, in the order of their
names, so that what is read can be compared with what was written.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from components.checkpoints import load_gpt
from components.convert import import_folder
from components.models.families.keys import FormatError
from components.models.formats.checkpoint import load_checkpoint
from components.models.formats.tensorflow_checkpoint import TensorflowCheckpoint, gpt2_tokenizer
from components.models.formats.transformers_format import import_model
from tests.contracts.imports import ROOT

RELEASED = ROOT / "tests/components/released"
SHARED = ROOT.parent / "shared/data/gpt2-tokenizer"
VOCABULARY, CONTEXT, WIDTH, LAYERS = 258, 16, 8, 2


def written():
    """Shapes by their names: github.com/openai/gpt-2, src/model.py."""
    yield "model/wte", (VOCABULARY, WIDTH)
    yield "model/wpe", (CONTEXT, WIDTH)
    for layer in range(LAYERS):
        yield from ((f"model/h{layer}/{norm}/{part}", (WIDTH,)) for norm in ("ln_1", "ln_2") for part in "gb")
        maps = {"attn/c_attn": (8, 24), "attn/c_proj": (8, 8), "mlp/c_fc": (8, 32), "mlp/c_proj": (32, 8)}
        for name, (rows, columns) in maps.items():
            yield f"model/h{layer}/{name}/w", (1, rows, columns)
            yield f"model/h{layer}/{name}/b", (columns,)
    yield from ((f"model/ln_f/{part}", (WIDTH,)) for part in "gb")


def theirs():
    """The same numbers in transformers, by its own names."""
    draw = np.random.default_rng(0)
    values = {name: draw.normal(size=shape).astype(np.float32) / 2 for name, shape in sorted(written())}
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    for name, parameter in model.transformer.named_parameters():
        place = name.replace("h.", "h", 1).replace(".", "/") if name.startswith("h.") else name.replace(".", "/")
        stem, _, part = place.rpartition("/")
        norm = "ln_" in stem
        place = stem if stem in ("wte", "wpe") else f"{stem}/{'b' if part == 'bias' else 'g' if norm else 'w'}"
        parameter.data.copy_(torch.from_numpy(values[f"model/{place}"]).squeeze(0))
    return model


@torch.no_grad()
def test_logits_are_those_of_transformers_with_the_same_numbers():
    ids = torch.randint(VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    model = import_model(RELEASED)
    torch.testing.assert_close(model.logits(model(ids)), theirs()(ids).logits, atol=1e-6, rtol=1e-6)


def test_what_is_no_part_of_the_model_is_passed_over():
    """The step of training lies among its tensors."""
    assert b"global_step" in (RELEASED / "model.ckpt.index").read_bytes()
    assert not [name for name in TensorflowCheckpoint(RELEASED).names() if "step" in name]


def test_the_tokenizer_comes_along(tmp_path):
    model, found = load_checkpoint(RELEASED)
    assert (found.eos, found.tokenizer.token_to_id(found.eos)) == ("<|endoftext|>", 257)
    assert found.tokenizer.encode("hehé").ids[:2] == [256, 71]  # he, h: place 71 of GPT-2's order of bytes
    assert found.tokenizer.decode(found.tokenizer.encode("hehé \n").ids) == "hehé \n"
    import_folder(RELEASED, tmp_path / "ours")
    own = load_gpt(tmp_path / "ours")
    assert all(torch.equal(weight, own.state_dict()[name]) for name, weight in model.state_dict().items())
    assert (tmp_path / "ours/tokenizer.json").exists()


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(RELEASED, tmp_path / "gpt2"))


HPARAMS = {"n_vocab": VOCABULARY, "n_ctx": CONTEXT, "n_embd": WIDTH, "n_head": 2, "n_layer": 3}


def change(path, at, value):
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda folder: (folder / "model.ckpt.index").unlink(), "has 0 files that end in .index"),
        (lambda folder: (folder / "model.ckpt.index").write_bytes(b"short"), "no table of tensors"),
        (lambda folder: change(folder / "model.ckpt.index", -1, 0), "it does not end as one does"),
        (lambda folder: change(folder / "model.ckpt.index", -44, 255), "no table of tensors"),
        (lambda folder: (folder / "model.ckpt.data-00000-of-00001").unlink(), "cannot be read"),
        (lambda folder: (folder / "model.ckpt.data-00000-of-00001").write_bytes(b"\0" * 99), "ends before"),
        (lambda folder: (folder / "hparams.json").write_text('{"n_layer": 3}'), "no whole number for vocab_size"),
        (lambda folder: (folder / "hparams.json").write_text(json.dumps(HPARAMS)), "missing: transformer.h.2"),
        (lambda folder: (folder / "vocab.bpe").unlink(), "are no tokenizer"),
    ],
    ids=["no index", "short", "magic", "handle", "no data", "cut data", "hparams", "layers", "merges"],
)  # fmt: skip
def test_what_is_broken_is_named(copy, broken, message):
    broken(copy)
    with pytest.raises(FormatError, match=message):
        load_checkpoint(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (2**62,), "length": 2**64},
        {"offset": 2**63},
        {"shape": (0, 8, 24), "length": 0},
        {"shape": (3, 8, 24), "length": 4 * 3 * 8 * 24},
        {"length": 7},
        {"shape": (1,) * 70, "length": 4},
    ],
    ids=["too many", "far", "none", "three maps", "length", "dimensions"],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_read(change):
    checkpoint = TensorflowCheckpoint(RELEASED)
    name = "transformer.h.0.attn.c_attn.weight"
    checkpoint.entries[name] = checkpoint.entries[name]._replace(**change)
    with pytest.raises(FormatError, match="another length or shape"):
        checkpoint.tensor(name)


@pytest.mark.skipif(not SHARED.exists(), reason="the released vocabulary is not at hand")
def test_ids_are_those_of_the_released_vocabulary(tmp_path):
    """minGPT's example (mingpt/bpe.py) and others, as published."""
    shutil.copyfile(SHARED / "gpt2_vocab.json", tmp_path / "encoder.json")
    shutil.copyfile(SHARED / "gpt2_merges.txt", tmp_path / "vocab.bpe")
    tokenizer = gpt2_tokenizer(tmp_path)
    ids = {
        "Hello!! I'm Andrej Karpathy. It's 2022. w00t :D \U0001f917": [
            15496, 3228, 314, 1101, 10948, 73, 509, 5117, 10036, 13, 632, 338, 33160, 13, 266, 405, 83, 1058, 35, 12520,
            97, 245,
        ],
        ".": [13], "\n": [198], " hello": [23748], "hello": [31373], "TL;DR:": [14990, 26, 7707, 25],
    }  # fmt: skip
    for text, expected in ids.items():
        assert tokenizer.encode(text).ids == expected
        assert tokenizer.decode(expected) == text
    assert tokenizer.token_to_id("<|endoftext|>") == 50256 and tokenizer.get_vocab_size() == 50257
