"""GPT as openai/finetune-transformer-lm released it: arrays of numpy and a vocabulary, against transformers."""

import json

import numpy as np
import pytest
import torch
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel, OpenAIGPTTokenizer

from components.models.families.keys import FormatError
from components.models.formats.checkpoint import digest_of, load_checkpoint
from components.models.formats.released_gpt1 import gpt1_tokenizer
from components.models.formats.transformers_format import import_model
from tests.contracts.imports import ROOT

SHARED = ROOT.parent / "shared/data/gpt1-tokenizer"
VOCABULARY, CONTEXT, WIDTH, LAYERS = 21, 12, 128, 2
# The vocabulary of a published example of byte pairs within words.
TOKENS = ["l", "o", "w", "e", "r", "s", "t", "i", "d", "n", "w</w>", "r</w>", "t</w>", "lo", "low", "er</w>", "low</w>",
          "lowest</w>", "newer</w>", "wider</w>", "<unk>"]  # fmt: skip
MERGES = "#version: 0.2\nl o\nlo w\ne r</w>\n"


def shapes():
    """As train.py makes its variables: github.com/openai/finetune-transformer-lm."""
    yield from ([CONTEXT, WIDTH], [VOCABULARY, WIDTH])
    for _ in range(LAYERS):
        yield from ([1, WIDTH, 3 * WIDTH], [3 * WIDTH], [1, WIDTH, WIDTH], [WIDTH], [WIDTH], [WIDTH])
        yield from ([1, WIDTH, 4 * WIDTH], [4 * WIDTH], [1, 4 * WIDTH, WIDTH], [WIDTH], [WIDTH], [WIDTH])


@pytest.fixture
def released(tmp_path):
    """A folder in the released form, and the tensors in it."""
    draw = np.random.default_rng(0)
    tensors = [draw.normal(size=shape).astype(np.float32) / 5 for shape in shapes()]
    for number, part in enumerate(np.array_split(np.concatenate([each.ravel() for each in tensors]), 11)):
        np.save(tmp_path / f"params_{number}.npy", part)
    (tmp_path / "params_shapes.json").write_text(json.dumps(list(shapes())))
    (tmp_path / "encoder_bpe_40000.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    (tmp_path / "vocab_40000.bpe").write_text(MERGES)
    return tmp_path, tensors


@torch.no_grad()
def test_logits_are_those_of_transformers_with_the_same_numbers(released):
    folder, tensors = released
    shape = {"n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2}
    theirs = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=VOCABULARY, **shape)).eval()
    theirs.transformer.positions_embed.weight.copy_(torch.from_numpy(tensors[0]))
    theirs.transformer.tokens_embed.weight.copy_(torch.from_numpy(tensors[1]))
    for layer, block in enumerate(theirs.transformer.h):
        own = [torch.from_numpy(each).squeeze(0) for each in tensors[2 + 12 * layer : 14 + 12 * layer]]
        modules = (block.attn.c_attn, block.attn.c_proj, block.ln_1, block.mlp.c_fc, block.mlp.c_proj, block.ln_2)
        for place, module in enumerate(modules):
            module.weight.copy_(own[2 * place])
            module.bias.copy_(own[2 * place + 1])
    ids = torch.randint(VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    model = import_model(folder)
    torch.testing.assert_close(model.logits(model(ids)), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_pairs_are_merged_within_words(released):
    _, checkpoint = load_checkpoint(released[0])
    found = checkpoint.tokenizer.encode("Lower, low")
    assert found.tokens == ["low", "er</w>", "<unk>", "lo", "w</w>"]  # no merge has a w that ends a word
    assert found.ids == [14, 15, 20, 13, 10]
    assert checkpoint.tokenizer.decode([14, 15, 13, 10]) == "lower low"


def test_the_digest_covers_weights_and_vocabulary(released):
    folder, before = released[0], digest_of(released[0])
    for name in ("params_4.npy", "vocab_40000.bpe", "params_shapes.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert digest_of(folder) != before
        (folder / name).write_bytes(content)
    assert digest_of(folder) == before


TEXTS = [
    "The president is a very good man.", "Héllo, WORLD! it's 2022 -- isn't it?", "tabs\tand\nlines", "日本語 und ß",
    "a" * 60, "  spaces   between  ", "e-mail: someone@example.org (x)", "",
]  # fmt: skip


def test_ids_are_those_of_the_released_vocabulary():
    if not SHARED.exists():
        pytest.skip("the released vocabulary is not at hand")
    tokenizer = gpt1_tokenizer(SHARED)
    # "the president is a very good man.", kept by hand.
    assert tokenizer.encode(TEXTS[0]).ids == [481, 4735, 544, 246, 963, 870, 762, 239]
    vocabulary = json.loads((SHARED / "encoder_bpe_40000.json").read_text())
    lines = (SHARED / "vocab_40000.bpe").read_text().split("\n")[1:-1]
    theirs = OpenAIGPTTokenizer(vocab=vocabulary, merges=[tuple(line.split()) for line in lines])
    for text in TEXTS:
        assert tokenizer.encode(text).ids == theirs(text)["input_ids"]
        assert tokenizer.decode(tokenizer.encode(text).ids) == theirs.decode(theirs(text)["input_ids"])
    assert tokenizer.get_vocab_size() == 40_478


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda folder: (folder / "params_10.npy").unlink(), "numbers, and params_shapes.json tells of"),
    (lambda folder: (folder / "params_3.npy").write_bytes(b"\x80\x04."), "params_.*npy cannot be read"),
    (lambda folder: (folder / "params_shapes.json").write_text("[[2, 3], [4, 3], [3]]"), "has 3 shapes, where a GPT"),
    (lambda folder: (folder / "params_shapes.json").write_text(f"[[2], [4, 3]{', [3]' * 12}]"), "has 14 shapes"),
    (lambda folder: (folder / "params_shapes.json").write_text("7"), "has no shapes"),
    (lambda folder: (folder / "vocab_40000.bpe").write_text("#v\nq z\n"), "are no tokenizer"),
])  # fmt: skip
def test_what_is_broken_is_named(released, spoil, words):
    spoil(released[0])
    with pytest.raises(FormatError, match=words):
        load_checkpoint(released[0])
