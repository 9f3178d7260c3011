"""The tokenizer that a GGUF file describes, rebuilt from its metadata."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from components.models.families.keys import FormatError
from components.models.formats.gguf_file import GgufFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # token types
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes one
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
NEWER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# How llama.cpp cuts text before merging, by the name in `tokenizer.ggml.pre`.
WORDS = {"gpt-2": GPT2_WORDS, "smollm": GPT2_WORDS, "llama-bpe": NEWER % 3, "qwen2": NEWER % 1}
DIGITS_ALONE = ("smollm",)


def gguf_tokenizer(file: GgufFile) -> Tokenizer:
    """The BPE of a file with its special tokens: byte by byte as GPT-2's, or SentencePiece's as Llama 2's.

    Raises:
        FormatError: the tokenizer is of another kind, or cuts text in a way that is not known here.
    """
    kinds = {"gpt2": _byte_level, "llama": _sentencepiece}
    kind = file.value("tokenizer.ggml.model")
    if kind not in kinds:
        raise FormatError(f"{file.path}: tokenizer.ggml.model is {kind!r}; {', '.join(kinds)} are rebuilt here")
    tokens: list[str] = file.value("tokenizer.ggml.tokens")
    tokenizer = kinds[kind](file, tokens)
    for number, (token, type_) in enumerate(zip(tokens, _types(file), strict=False)):
        if type_ in (UNKNOWN, CONTROL, USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=type_ != USER_DEFINED, normalized=False)])
            assert tokenizer.token_to_id(token) == number
    return tokenizer


def _types(file: GgufFile) -> list[int]:
    return file.value("tokenizer.ggml.token_type", [])


def _byte_level(file: GgufFile, tokens: list[str]) -> Tokenizer:
    cut = file.value("tokenizer.ggml.pre", "gpt-2")
    if cut not in WORDS:
        raise FormatError(f"{file.path}: tokenizer.ggml.pre is {cut!r}; {', '.join(WORDS)} are known here")
    merges = [tuple(merge.split(" ", 1)) for merge in file.value("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizer(cut)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(file: GgufFile, tokens: list[str]) -> Tokenizer:
    """As Llama 2's own `tokenizer.json`: blanks are letters, one is put before every text, what is left are bytes."""
    problems = [key for key in ("merges", "precompiled_charsmap", "remove_extra_whitespaces")
                if file.value(f"tokenizer.ggml.{key}")]  # fmt: skip
    if problems:
        raise FormatError(f"{file.path}: tokenizer.ggml.{', '.join(problems)}: not understood with SentencePiece's BPE")
    scores, types = file.value("tokenizer.ggml.scores", []), _types(file)
    if not len(tokens) == len(scores) == len(types):
        raise FormatError(
            f"{file.path} has {len(tokens)} tokens, {len(scores)} scores and {len(types)} types of tokens"
        )
    numbers = {token: number for number, token in enumerate(tokens)}
    if missing := [token for token in BYTES if token not in numbers]:
        raise FormatError(f"{file.path}: {len(missing)} bytes have no token, such as {missing[0]}")
    merges = _merges(tokens, scores, types)
    tokenizer = Tokenizer(models.BPE(numbers, merges, fuse_unk=True, byte_fallback=True))
    prefix = file.value("tokenizer.ggml.add_space_prefix", True)
    before = [normalizers.Prepend(BLANK)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", BLANK)])
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    return tokenizer


def _merges(tokens: list[str], scores: list[float], types: list[int]) -> list[tuple[str, str]]:
    """Every way in which two tokens make a third, best scores first, as SentencePiece joins.

    No text makes a token that is not a normal one, whatever its letters: a marker that is written out is letters.
    """
    known, found = set(tokens), []
    for token, score, type_ in zip(tokens, scores, types, strict=True):
        cuts = range(1, len(token)) if type_ == NORMAL else ()
        pairs = [(token[:cut], token[cut:]) for cut in cuts]
        found += [(score, len(left), len(right), (left, right)) for left, right in pairs if {left, right} <= known]
    return [pair for *_, pair in sorted(found, key=lambda merge: merge[:3], reverse=True)]


def pre_tokenizer(cut: str) -> pre_tokenizers.PreTokenizer:
    """How text is cut, by a key of `WORDS`."""
    digits = [pre_tokenizers.Digits(individual_digits=True)] if cut in DIGITS_ALONE else []
    words = pre_tokenizers.Split(Regex(WORDS[cut]), behavior="isolated")
    return pre_tokenizers.Sequence([*digits, words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
