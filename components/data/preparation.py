"""Cleaning, de-duplicating and splitting a corpus; tokenizer, token files, demonstrations and prompts of it.

Records pass through in shards. What does grow in memory with the data is a digest of each text, the tokenizer's count
of different words, and the prompts.
"""

import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from components.data.chat import ENCODED_TOGETHER, ChatTokenizer
from components.data.corpus import (
    SPLITS,
    CorpusReport,
    clean_comparisons,
    clean_prompts,
    prompt_use_of,
    read_shards,
    role_of,
)
from components.data.demonstrations import count_too_long
from components.data.prompts import USES, PromptPool
from components.data.records import (
    Comparison,
    Demonstration,
    RecordError,
    as_chat,
    as_message,
    group_of,
    write_records,
)
from components.data.tokenizer import train_tokenizer
from components.data.tokens import TokenFileMeta, TokenFileWriter
from components.progress import Progress
from components.work import Work

if TYPE_CHECKING:
    from components.stages.prepare import Prepare

logger = logging.getLogger(__name__)


def prepare(stage: "Work[Prepare]") -> None:
    """The whole stage; cleaned shards are kept in the state folder between its passes.

    Raises:
        RecordError: records break their schema, or there are too few; the message says of what.
    """
    report = CorpusReport()
    shards = _clean(stage, report)
    chat = _tokenizer(stage, shards, report)
    metas = _encode(stage, shards, chat)
    supplied = _user_comparisons(stage, chat, report)
    report.kept["user comparisons"] = write_records(stage.path("comparisons.jsonl"), supplied)
    _export_conversations(stage, shards, chat, report)
    _summarise(stage, report, metas, chat)
    _check_enough(stage, report, metas)


def _base(stage: "Work[Prepare]") -> Path | None:
    """The model that the node is fed, if any."""
    return next(iter(stage.read_all("base").values()), None)


def _tokenizer(stage: "Work[Prepare]", shards: list[Path], report: CorpusReport) -> ChatTokenizer:
    """The tokenizer of the model that the node is fed, or a new one."""
    if (base := _base(stage)) is not None:
        shutil.copyfile(base / "tokenizer.json", stage.path("tokenizer.json"))
        return ChatTokenizer.load(base / "tokenizer.json")
    tokenizer = train_tokenizer(_training_texts(shards, report), vocab_size=stage.section.vocab_size)
    tokenizer.save(str(stage.path("tokenizer.json")))
    return ChatTokenizer(tokenizer)


def _clean(stage: "Work[Prepare]", report: CorpusReport) -> list[Path]:
    """Pass 1: cleaned, unique records, a pickle-free file a shard."""
    folder = stage.state / "shards"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths: list[Path] = []
    with Progress(_count_records(stage.read("data"), stage.section.max_records), "records cleaned") as progress:
        for number, frame in enumerate(read_shards(stage.read("data"), stage.section, report)):
            paths.append(folder / f"{number:05d}.parquet")
            frame.to_parquet(paths[-1])
            progress.advance(report.read - progress.done)
    return paths


def _count_records(data: Path, limit: int) -> int:
    """About how many records will pass: one a line."""
    count = 0
    for path in itertools.chain(data.glob("documents/*.jsonl"), data.glob("demonstrations/*.jsonl")):
        with path.open("rb") as file:
            count += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return min(count, limit) if limit else count


def _training_texts(shards: list[Path], report: CorpusReport) -> Iterator[str]:
    with Progress(report.kept["train"], "texts read for the tokenizer") as progress:
        for shard in shards:
            for text in _read(shard).query("split == 'train'")["text"]:
                progress.advance()
                yield text


def _read(shard: Path) -> pd.DataFrame:
    return pd.read_parquet(shard)


def _encode(stage: "Work[Prepare]", shards: list[Path], chat: ChatTokenizer) -> dict[str, TokenFileMeta]:
    """Pass 2: token files."""
    writers = {
        split: TokenFileWriter(stage.path(f"tokens/{split}.json"), vocab_size=chat.vocab_size, endoftext=chat.endoftext)
        for split in SPLITS
    }
    with Progress(len(shards), "shards encoded") as progress:
        for shard in shards:
            for (split, corpus), rows in _read(shard).groupby(["split", "corpus"]):
                texts = rows["text"].tolist()
                encodings = chat.tokenizer.encode_batch_fast(texts)
                ids = (encoding.ids for encoding in encodings)
                writers[str(split)].extend(texts, ids, corpus=str(corpus))
            progress.advance()
    return {split: writer.close() for split, writer in writers.items()}


def _user_comparisons(stage: "Work[Prepare]", chat: ChatTokenizer, report: CorpusReport) -> Iterator[Comparison]:
    for comparison in clean_comparisons(stage.read("data"), report):
        said, longest = as_chat(comparison.messages), stage.limits.max_prompt_tokens
        report.cut["user comparisons"] += chat.is_cut(said, max_tokens=longest)
        yield comparison


def _export_conversations(
    stage: "Work[Prepare]", shards: list[Path], chat: ChatTokenizer, report: CorpusReport
) -> None:
    """Pass 3: demonstrations and prompts."""
    params = stage.section
    pool = PromptPool(chat, max_tokens=stage.limits.max_prompt_tokens, per_conversation=params.prompts_per_conversation)
    for split in SPLITS:
        rows = (row for shard in shards for row in _demonstrations(shard, split, stage, chat, report))
        count = write_records(stage.path(f"demonstrations/{split}.jsonl"), rows)
        report.kept[f"{split} demonstrations"] = count
    with Progress(len(shards), "shards searched for prompts") as progress:
        for shard in shards:
            pool.add(_conversations(shard, stage))
            progress.advance()
    for prompt in clean_prompts(stage.read("data"), report):
        pool.add_user_prompt(prompt, prompt_use_of(group_of(prompt), params))
    prompts = pool.resolve()
    report.dropped.update(pool.dropped)
    for use, found in prompts.items():
        report.kept[f"{use} prompts"] = write_records(stage.path(f"prompts/{use}.jsonl"), found)
        report.cut[f"{use} prompts"] = pool.count_cut(found)
    overlaps = pool.overlaps(prompts)
    logger.info("prompts shared between uses: %s", overlaps)
    if any(overlaps.values()):
        raise AssertionError(f"prompts overlap between uses: {overlaps}")
    stage.metrics["overlaps"] = overlaps


def _conversations(shard: Path, stage: "Work[Prepare]") -> pd.DataFrame:
    """The multi-turn conversations of a shard with the role each plays after pretraining."""
    frame = _read(shard)
    frame = frame[frame["messages"].notna()].copy()
    frame["messages"] = frame["messages"].map(list)
    frame["role"] = [
        role_of(group, split, stage.section) for group, split in zip(frame["group"], frame["split"], strict=True)
    ]
    return frame


def _demonstrations(
    shard: Path, split: str, stage: "Work[Prepare]", chat: ChatTokenizer, report: CorpusReport
) -> Iterator[Demonstration]:
    """A shard's demonstrations; their answers are counted, those apart that begin too late for a row of sft."""
    frame = _conversations(shard, stage)
    # Those of the test split are what people said: evaluate's referee reads them.
    chosen = frame[(frame["split"] == split) & ((frame["role"] == "demonstrations") | (split == "test"))]
    longest = stage.limits.max_demonstration_tokens + 1
    rows = zip(chosen["id"], chosen["group"], chosen["messages"], strict=True)
    for number, (name, group, messages) in enumerate(rows):
        if number % ENCODED_TOGETHER == 0:
            part = chosen["messages"].iloc[number : number + ENCODED_TOGETHER]
            chat.remember([message for conversation in part for message in conversation])
        too_long = count_too_long(chat, messages, max_tokens=longest)
        report.dropped["answers of demonstrations after too long a turn"] += too_long
        report.kept[f"{split} answers"] += sum(message["role"] == "assistant" for message in messages) - too_long
        yield Demonstration(id=name, messages=tuple(map(as_message, messages)), group=group)


def _check_enough(stage: "Work[Prepare]", report: CorpusReport, metas: dict[str, TokenFileMeta]) -> None:
    """Stop where a later stage would have nothing to work on.

    Raises:
        RecordError: names each part that is too small, what it holds and what it needs.
    """
    params, limits = stage.section, stage.limits
    window = limits.context_length + 1
    shares = {"validation": params.validation_fraction, "test": params.test_fraction}
    shares["train"] = 1 - sum(shares.values())
    problems = [
        f"the {split} split has {meta.tokens} tokens in {meta.documents} texts, one window of limits.context_length "
        f"needs {window}: about {round(window / shares[split])} tokens in all texts together, "
        f"{sum(m.tokens for m in metas.values())} are there"
        for split, meta in metas.items()
        if meta.tokens < window
    ]
    if not report.read:
        problems.append("no document and no conversation was read, and prompts and comparisons are not pretrained on")
    if report.read_conversations:
        problems += [
            f"no demonstration of the {split} split has an answer that begins within "
            f"limits.max_demonstration_tokens, {limits.max_demonstration_tokens}"
            for split in ("train", "validation")
            if not report.kept[f"{split} answers"]
        ]
        problems += [f"there is no {use} prompt" for use in USES if not report.kept[f"{use} prompts"]]
    if problems:
        raise RecordError(
            f"{stage.read('data')}/ is too small:\n"
            + "".join(f"  {problem}\n" for problem in problems)
            + f"{report.read} records were read, {sum(report.kept[split] for split in SPLITS)} kept; "
            f"{stage.path('report.md')} counts what was dropped and why. More or longer records help, and larger "
            "shares in the section prepare of params.yaml."
        )


def _summarise(
    stage: "Work[Prepare]", report: CorpusReport, metas: dict[str, TokenFileMeta], chat: ChatTokenizer
) -> None:
    """The data report: figures for DVC and MLflow, and a page to read."""
    stage.metrics |= {
        "records": {"read": report.read, **{name.replace(" ", "_"): n for name, n in report.kept.items()}},
        "dropped": {name.replace(" ", "_"): n for name, n in report.dropped.items()},
        "cut": {name.replace(" ", "_"): n for name, n in report.cut.items()},
        "vocabulary": chat.vocab_size,
        **{
            split: {
                "tokens": meta.tokens,
                "bytes": meta.bytes,
                "bytes_per_token": round(meta.bytes / max(1, meta.tokens), 4),
            }
            for split, meta in metas.items()
        },
    }
    rows = [
        (f"{group}/{key}", value)
        for group, values in stage.metrics.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    ]
    page = "# What prepare kept, cut and dropped\n\n| figure | value |\n|---|---|\n"
    page += "".join(f"| {name.rstrip('/')} | {value} |\n" for name, value in rows)
    stage.path("report.md").write_text(page)
    stage.tracker.log_file(stage.path("report.md"))
