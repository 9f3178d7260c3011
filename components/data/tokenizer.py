"""Training the byte-level BPE of GPT-2 (section 2.2 of its paper) on the corpus of a lineage."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from components.data.templates import lineage


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """A reversible tokenizer of at most vocab_size entries: 256 bytes, the special tokens and learned merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(lineage.FORMAT.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
