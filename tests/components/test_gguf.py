"""GGUF files: small ones of each storage against transformers reading them, and SmolLM2 where it is at hand."""

import copy
import io
import random

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Storage
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig

from components.data.chat import ChatTokenizer
from components.data.templates.known import KNOWN
from components.models.config import GPTConfig
from components.models.families.family import layouts
from components.models.families.keys import FormatError
from components.models.formats.checkpoint import choose_format, load_checkpoint
from components.models.formats.gguf_export import export_gguf
from components.models.formats.gguf_file import GgufFile
from components.models.formats.gguf_tokenizer import _merges, gguf_tokenizer
from components.models.formats.transformers_format import import_model
from components.models.transformer import GPT, count_parameters
from tests.components.families import CONFIGS, randomize
from tests.components.test_templates import make
from tests.contracts.imports import ROOT
from tests.smollm2 import GGUF, needs_smollm2

WIDTH, HEADS, KV_HEADS, HIDDEN, LAYERS, VOCABULARY = 256, 8, 2, 256, 2, 64


def write(path, storage, *, architecture="llama", extra=None, tied=True):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{number}" for number in range(VOCABULARY)])
    writer.add_token_merges(["t 1"])
    for key, value in (extra or {}).items():
        writer.add_uint32(key, value)
    draws = np.random.default_rng(0)
    kv = WIDTH // HEADS * KV_HEADS
    shapes = {"token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,)} | (
        {} if tied else {"output": (VOCABULARY, WIDTH)}
    )
    for layer in range(LAYERS):
        parts = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (kv, WIDTH),
                 "attn_v": (kv, WIDTH), "attn_output": (WIDTH, WIDTH), "ffn_gate": (HIDDEN, WIDTH),
                 "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}  # fmt: skip
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    for name, shape in shapes.items():
        values = draws.normal(0, 0.1, shape).astype(np.float32)
        kind = Storage.F32 if len(shape) == 1 else storage
        writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("storage", [Storage.F32, Storage.F16, Storage.BF16, Storage.Q8_0, Storage.Q4_0, Storage.Q4_1])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_transformers_on_the_same_file(tmp_path, storage, tied):
    path = write(tmp_path / "model.gguf", storage, tied=tied)
    ours = import_model(path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).eval()
    ids = torch.randint(0, VOCABULARY, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(ids)), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_what_is_not_understood_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"llama\.expert_count: not understood"):
        import_model(write(tmp_path / "a.gguf", Storage.F32, extra={"llama.expert_count": 8}))
    with pytest.raises(FormatError, match="is a 'bloom'"):
        import_model(write(tmp_path / "b.gguf", Storage.F32, architecture="bloom"))
    (tmp_path / "c.gguf").write_bytes(b"GGUF\0\0")
    with pytest.raises(FormatError, match=r"c\.gguf is no GGUF file"):
        import_model(tmp_path / "c.gguf")


@needs_smollm2
def test_smollm2_computes_what_transformers_does():
    ours = import_model(GGUF)
    assert count_parameters(ours) == 134_515_008
    theirs = AutoModelForCausalLM.from_pretrained(GGUF.parent, gguf_file=GGUF.name, dtype=torch.float32).eval()
    ids = torch.randint(0, 49152, (2, 100), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(ids)), theirs(ids).logits, atol=1e-4, rtol=1e-4)


def test_an_exported_file_is_read_back_by_us_and_by_transformers(tmp_path):
    format = KNOWN["chatml"]
    chat = ChatTokenizer(make(format), format)
    size = chat.vocab_size + 3  # rows beyond the tokenizer's
    said = LlamaConfig(
        **CONFIGS["llama-2"].to_dict() | {"vocab_size": size, "attention_bias": False, "mlp_bias": False}
    )
    model = randomize(GPT(layouts()["llama"].read(said.to_dict())))
    export_gguf(model, chat, tmp_path / "out.gguf", name="tiny")
    back, found = load_checkpoint(tmp_path / "out.gguf")
    ids = torch.randint(0, size, (2, 40), generator=torch.Generator().manual_seed(0))
    half = copy.deepcopy(model)
    for weight in half.parameters():
        weight.data = weight.data.half().float() if weight.ndim == 2 else weight.data
    with torch.no_grad():
        expected = half.logits(half(ids))
        torch.testing.assert_close(back.logits(back(ids)), expected, atol=1e-5, rtol=1e-5)
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="out.gguf", dtype=torch.float32).eval()
        torch.testing.assert_close(theirs(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert choose_format(found, "auto")[1].end == format.end
    text = "it's 2024, hello there\n\n naïve"
    found.tokenizer.encode_special_tokens = True
    assert found.tokenizer.encode(text).ids == chat.encode_text(text)


def test_what_gguf_cannot_say_is_refused(tmp_path):
    format = KNOWN["chatml"]
    chat = ChatTokenizer(make(format), format)
    with pytest.raises(FormatError, match="not of gpt2"):
        export_gguf(GPT(GPTConfig(chat.vocab_size, 8, 1, 8, 2)), chat, tmp_path / "a.gguf", name="a")
    scaled = layouts()["llama"].read(CONFIGS["llama-3"].to_dict())
    with pytest.raises(FormatError, match="plain rotary positions"):
        export_gguf(GPT(scaled), chat, tmp_path / "a.gguf", name="a")
    chat.tokenizer.pre_tokenizer = None
    plain = layouts()["llama"].read(CONFIGS["llama"].to_dict() | {"vocab_size": chat.vocab_size})
    with pytest.raises(FormatError, match="cuts text in a way that is none of gpt-2"):
        export_gguf(GPT(plain), chat, tmp_path / "a.gguf", name="a")


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PHRASES = [
    "it's 2024, hello there\n\n naïve 你好",
    " two  blanks before",
    "low lower lowest  slow ",
    "",
    " ",
    "</s> s></",
]


def sentencepiece(folder, *, extra=None, missing=()):
    """A GGUF with a vocabulary as SentencePiece's BPE makes one: words' beginnings and parts, the best scores first."""
    words = (
        "▁low ▁lower ▁lowest ▁slow ▁hello ▁there ▁it ▁two ▁blanks ▁before owe he re el lo lowe ▁▁ ▁h st es er".split()
    )
    pieces = sorted({word[:end] for word in words for end in range(2, len(word) + 1)} | set(words[10:]))
    np.random.default_rng(0).shuffle(pieces)
    pieces += ["</", "s>"]
    letters = sorted({letter for piece in pieces for letter in piece} | set("▁,'20"))
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *pieces, *letters, "<|mine|>"]
    types = [2, 3, 3, *[6] * 256, *[1] * (len(pieces) + len(letters)), 4]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces) + len(letters))] + [0.0]
    kept = [row for row in zip(tokens, scores, types, strict=True) if row[0] not in missing]
    return vocabulary(folder / "sp.gguf", *zip(*kept, strict=True), extra=extra)


def vocabulary(path, tokens, scores, types, *, extra=None):
    """A GGUF of SentencePiece's kind without a network."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for key, value in (extra or {}).items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, gguf.GGUFValueType.BOOL)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_sentencepiece_vocabulary_cuts_text_as_transformers_does(tmp_path):
    """Of its builders that of Phi-3 has Llama 2's own form, that of Llama differs in texts that begin with a blank."""
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer  # noqa: PLC0415

    path = sentencepiece(tmp_path)
    ours = gguf_tokenizer(GgufFile(path))
    _, said, _ = get_gguf_tokenizer(str(path))
    exact, usual = (convert_gguf_tokenizer(name, said)[0] for name in ("phi3", "llama"))
    longest = 0
    for text in PHRASES[:-1]:
        found = ours.encode(text, add_special_tokens=False)
        assert found.ids == exact.encode(text, add_special_tokens=False).ids
        if not text.startswith(" "):
            assert found.ids == usual.encode(text, add_special_tokens=False).ids
        assert ours.decode(found.ids) == text
        longest = max(longest, *map(len, found.tokens), 0)
    assert longest == len("▁lowest")
    assert ours.encode("hello</s><|mine|>").ids == exact.encode("hello</s><|mine|>", add_special_tokens=False).ids


def test_a_trained_vocabulary_cuts_text_as_sentencepiece_does(tmp_path):
    spm = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed: pip install '.[dev]'")
    corpus, proto, draw = (ROOT / "README.md").read_text(), io.BytesIO(), random.Random(0)
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.splitlines()), model_writer=proto, vocab_size=1000, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, user_defined_symbols=["<|mine|>"],
    )  # fmt: skip
    judge = spm.SentencePieceProcessor(model_proto=proto.getvalue())
    numbers = range(judge.get_piece_size())
    tokens = [judge.id_to_piece(number) for number in numbers]
    types = [
        {judge.is_unknown(n): 2, judge.is_control(n): 3, token == "<|mine|>": 4, judge.is_byte(n): 6}.get(True, 1)
        for n, token in zip(numbers, tokens, strict=True)
    ]
    ours = gguf_tokenizer(
        GgufFile(vocabulary(tmp_path / "sp.gguf", tokens, [judge.get_score(number) for number in numbers], types))
    )
    ours.encode_special_tokens = True
    for text in (*PHRASES, *(corpus[(at := draw.randrange(len(corpus))) : at + 150] for _ in range(300))):
        found = ours.encode(text, add_special_tokens=False).ids
        assert found == judge.encode(text)
        assert ours.decode(found) == judge.decode(found)


def test_no_text_makes_a_marker_of_a_sentencepiece_vocabulary(tmp_path):
    """Though its letters are two tokens that stand side by side: only normal tokens are joined."""
    ours = gguf_tokenizer(GgufFile(sentencepiece(tmp_path)))
    ours.encode_special_tokens = True
    assert ours.encode("low</s>").tokens == ["▁low", "</", "s>"]


def test_by_hand_best_scores_are_joined_first(tmp_path):
    """abc: of ab (-2) and bc (-1) the second is better, so that a is left."""
    tokens = ["ab", "bc", "a", "b", "c"]
    tokenizer = Tokenizer(
        models.BPE({t: n for n, t in enumerate(tokens)}, _merges(tokens, [-2.0, -1.0, 0, 0, 0], [1] * 5))
    )
    assert tokenizer.encode("abc").tokens == ["a", "bc"]


def test_without_a_blank_before_every_text(tmp_path):
    found = gguf_tokenizer(GgufFile(sentencepiece(tmp_path, extra={"add_space_prefix": False})))
    assert found.encode("low low").tokens == ["low", "▁low"]
    assert found.decode(found.encode(" low").ids) == " low"


def test_a_sentencepiece_vocabulary_that_is_not_understood_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"remove_extra_whitespaces: not understood"):
        gguf_tokenizer(GgufFile(sentencepiece(tmp_path, extra={"remove_extra_whitespaces": True})))
    with pytest.raises(FormatError, match=r"1 bytes have no token, such as <0x41>"):
        gguf_tokenizer(GgufFile(sentencepiece(tmp_path, missing=["<0x41>"])))
