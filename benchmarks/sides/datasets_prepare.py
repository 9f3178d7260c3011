"""The same from `datasets` and `tokenizers`: load JSONL, train the BPE, map it over the rows, write ids to a file.

It neither cleans nor removes duplicates nor checks a row; its cache is empty in each round, as ours is.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROWS = 1000  # of a batch, the default of `map`


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """The same file as ours; option `processes`."""
    source = folder / f"documents-{options['megabytes']}/data/documents/part-00000.jsonl"
    cache, out = folder / "datasets-cache", folder / "datasets.bin"

    def run_round() -> float:
        shutil.rmtree(cache, ignore_errors=True)
        started = time.perf_counter()
        rows = load_dataset("json", data_files=str(source), split="train", cache_dir=str(cache))
        tokenizer = _train(rows, options["vocabulary"])

        def encode(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
            return {"ids": [encoding.ids for encoding in tokenizer.encode_batch_fast(batch["text"])]}

        encoded = rows.map(encode, batched=True, num_proc=options["processes"], remove_columns=rows.column_names)
        with out.open("wb") as file:
            for batch in encoded.iter(ROWS):
                file.write(np.concatenate([np.asarray(ids, np.uint16) for ids in batch["ids"]]).tobytes())
        seconds = time.perf_counter() - started
        out.unlink()
        return source.stat().st_size / 1e6 / seconds

    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    return run_round


def _train(rows: Any, vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)

    def texts() -> Iterator[list[str]]:
        for batch in rows.iter(ROWS):
            yield batch["text"]

    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer
