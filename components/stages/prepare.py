"""Prepare: clean, de-duplicate and split the records; train the tokenizer; write token files and prompts.

Reads `data/`, writes `artifacts/prepare/`: the tokenizer, one token file a split, demonstrations to fine-tune on,
disjoint prompts for compare, ppo and evaluate, and a report of what was kept and what was dropped, and why.
Records pass through in shards, so memory does not grow with the data.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from components.data.chat import ChatTokenizer
from components.data.corpus import SPLITS, CorpusReport, prompt_use_of, read_shards, role_of
from components.data.prompts import PromptPool
from components.data.records import (
    Comparison,
    Demonstration,
    Prompt,
    RecordError,
    as_message,
    read_records,
    write_records,
)
from components.data.tokenizer import train_tokenizer
from components.data.tokens import TokenFileMeta, TokenFileWriter
from components.progress import Progress
from components.stages.runtime import Stage

logger = logging.getLogger(__name__)
DATA = Path("data")


def prepare(stage: Stage) -> None:
    """The whole stage; cleaned shards are kept in the state folder between its passes."""
    params = stage.params.prepare
    report = CorpusReport()
    shards = _clean(stage, report)
    if not report.kept["train"] or not report.kept["test"] or not report.kept["validation"]:
        raise RecordError(f"{DATA}/ leaves a split empty: {dict(report.kept)}; more records are needed")
    texts = (text for shard in shards for text in _read(shard).query("split == 'train'")["text"])
    tokenizer = train_tokenizer(texts, vocab_size=params.vocab_size)
    tokenizer.save(str(stage.path("tokenizer.json")))
    chat = ChatTokenizer(tokenizer)
    metas = _encode(stage, shards, chat)
    brought = (row for path in sorted(DATA.glob("comparisons/*.jsonl")) for row in read_records(path, Comparison))
    report.kept["comparisons brought"] = write_records(stage.path("comparisons.jsonl"), brought)
    _export_conversations(stage, shards, chat, report)
    _summarise(stage, report, metas, chat)


def _clean(stage: Stage, report: CorpusReport) -> list[Path]:
    """Pass 1: cleaned, unique records, a pickle-free file a shard."""
    folder = stage.state / "shards"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = []
    for number, frame in enumerate(read_shards(DATA, stage.params.prepare, report)):
        paths.append(folder / f"{number:05d}.parquet")
        frame.to_parquet(paths[-1])
        logger.info("cleaned shard %d: %d records kept", number + 1, len(frame))
    return paths


def _read(shard: Path) -> pd.DataFrame:
    return pd.read_parquet(shard)


def _encode(stage: Stage, shards: list[Path], chat: ChatTokenizer) -> dict[str, TokenFileMeta]:
    """Pass 2: token files."""
    writers = {
        split: TokenFileWriter(stage.path(f"tokens/{split}.bin"), vocab_size=chat.vocab_size, endoftext=chat.endoftext)
        for split in SPLITS
    }
    with Progress(len(shards), "shards encoded") as progress:
        for shard in shards:
            for split, rows in _read(shard).groupby("split"):
                texts = rows["text"].tolist()
                encodings = chat.tokenizer.encode_batch_fast(texts)
                writers[str(split)].extend(texts, (encoding.ids for encoding in encodings))
            progress.advance()
    return {split: writer.close() for split, writer in writers.items()}


def _export_conversations(stage: Stage, shards: list[Path], chat: ChatTokenizer, report: CorpusReport) -> None:
    """Pass 3: demonstrations and prompts."""
    params = stage.params.prepare
    pool = PromptPool(chat, max_tokens=params.max_prompt_tokens, per_conversation=params.prompts_per_conversation)
    for split in SPLITS:
        rows = (row for shard in shards for row in _demonstrations(shard, split, stage))
        count = write_records(stage.path(f"demonstrations/{split}.jsonl"), rows)
        report.kept[f"{split} demonstrations"] = count
    for shard in shards:
        frame = _conversations(shard, stage)
        pool.add(frame)
    for path in sorted(DATA.glob("prompts/*.jsonl")):
        for prompt in read_records(path, Prompt):
            pool.add_brought(prompt, prompt_use_of(prompt.id, params))
    prompts = pool.resolve()
    report.dropped.update(pool.dropped)
    for use, found in prompts.items():
        report.kept[f"{use} prompts"] = write_records(stage.path(f"prompts/{use}.jsonl"), found)
    overlaps = pool.overlaps(prompts)
    logger.info("prompts shared between uses: %s", overlaps)
    if any(overlaps.values()):
        raise AssertionError(f"prompts overlap between uses: {overlaps}")
    stage.metrics["overlaps"] = overlaps


def _conversations(shard: Path, stage: Stage) -> pd.DataFrame:
    """The multi-turn conversations of a shard with the role each plays after pretraining."""
    frame = _read(shard)
    frame = frame[frame["messages"].notna()].copy()
    frame["messages"] = frame["messages"].map(list)
    frame["role"] = [
        role_of(name, split, stage.params.prepare) for name, split in zip(frame["id"], frame["split"], strict=True)
    ]
    return frame


def _demonstrations(shard: Path, split: str, stage: Stage) -> Iterator[Demonstration]:
    frame = _conversations(shard, stage)
    # Those of the test split are what people said: evaluate's referee reads them.
    chosen = frame[(frame["split"] == split) & ((frame["role"] == "demonstrations") | (split == "test"))]
    for name, messages in zip(chosen["id"], chosen["messages"], strict=True):
        yield Demonstration(id=name, messages=tuple(map(as_message, messages)))


def _summarise(stage: Stage, report: CorpusReport, metas: dict[str, TokenFileMeta], chat: ChatTokenizer) -> None:
    """The data report: figures for DVC and MLflow, and a page to read."""
    stage.metrics |= {
        "records": {"read": report.read, **{name.replace(" ", "_"): n for name, n in report.kept.items()}},
        "dropped": {name.replace(" ", "_"): n for name, n in report.dropped.items()},
        "vocabulary": chat.vocab_size,
        **{
            split: {"tokens": meta.tokens, "bytes": meta.bytes, "bytes_per_token": round(meta.bytes / meta.tokens, 4)}
            for split, meta in metas.items()
        },
    }
    rows = [
        (f"{group}/{key}", value)
        for group, values in stage.metrics.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    ]
    page = "# What prepare kept and dropped\n\n| figure | value |\n|---|---|\n"
    page += "".join(f"| {name.rstrip('/')} | {value} |\n" for name, value in rows)
    stage.path("report.md").write_text(page)
    stage.tracker.log_file(stage.path("report.md"))
