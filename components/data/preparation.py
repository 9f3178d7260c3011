"""Cleaning, de-duplicating and splitting a corpus; tokenizer, token files, demonstrations and prompts of it.

Records pass through in shards, which any worker can make. What does grow in memory with the data is the tokenizer's
count of different words, prompts, and digests of demonstrations' answers and of comparisons.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from components.data.chat import ENCODED_TOGETHER, ChatTokenizer
from components.data.corpus import (
    ROWS,
    SCHEMAS,
    SPLITS,
    CorpusReport,
    clean_comparisons,
    clean_portion,
    clean_prompts,
    portions_of,
    prompt_use_of,
    read_found,
    role_of,
    thin_portion,
)
from components.data.demonstrations import count_too_long
from components.data.digests import file_md5
from components.data.joining import later, partitions
from components.data.portions import check_problems
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
from components.data.shards import Workplace
from components.data.tokenizer import train_tokenizer
from components.data.tokens import TokenFileMeta, TokenFileWriter, dtype_of
from components.progress import Progress
from components.work import Work

if TYPE_CHECKING:
    from components.stages.prepare import Prepare

IDS, PARTS = "ids.bin", "parts.json"
logger = logging.getLogger(__name__)


def prepare(stage: "Work[Prepare]") -> None:
    """The whole stage; what was made of shards is kept in the state folder until it ends.

    Raises:
        RecordError: records break their schema, or there are too few; the message says of what.
    """
    report, params = CorpusReport(), stage.section
    with params.workers.open() as crew:
        at = Workplace(stage.state / "shards", crew, params.memory_mb)
        shards = _clean(stage, at, report)
        chat = _tokenizer(stage, shards, report)
        metas = _encode(stage, at, shards, chat)
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


def _clean(stage: "Work[Prepare]", at: Workplace, report: CorpusReport) -> list[Path]:
    """Pass 1: cleaned, unique records, a folder with a pickle-free file a shard."""
    params = stage.section
    parts = list(enumerate(portions_of(stage.read("data"), params.max_records)))
    cleaned = at.map(partial(clean_portion, params, partitions(len(parts))), parts, "cleaned", "portions cleaned")
    found = list(map(read_found, cleaned))
    try:
        for kind in SCHEMAS:
            own = [folder for folder, each in zip(cleaned, found, strict=True) if each["kind"] == kind]
            check_problems(own, kind.removesuffix("s"))
    except RecordError:
        shutil.rmtree(at.folder)  # of data that will be others
        raise
    report.read = sum(each["read"] for each in found)
    report.read_conversations = sum(each["read"] for each in found if each["kind"] == "demonstrations")
    report.dropped["empty"] += sum(each["empty"] for each in found)
    repeated = later(cleaned, at)
    shards = at.map(partial(thin_portion, repeated), cleaned, "unique", "portions thinned")
    for each in map(read_found, shards):
        report.dropped["duplicate"] += each["duplicate"]
        report.kept.update(each["kept"])
    return shards


def _training_texts(shards: list[Path], report: CorpusReport) -> Iterator[str]:
    own = [("split", "==", "train")]
    with Progress(report.kept["train"], "texts read for the tokenizer") as progress:
        for shard in shards:
            for text in pd.read_parquet(shard / ROWS, columns=["text"], filters=own)["text"]:
                progress.advance()
                yield text


def _encode(stage: "Work[Prepare]", at: Workplace, shards: list[Path], chat: ChatTokenizer) -> dict[str, TokenFileMeta]:
    """Pass 2: token files."""
    encode = partial(_encode_shard, stage.path("tokenizer.json"))
    writers = {
        split: TokenFileWriter(stage.path(f"tokens/{split}.json"), vocab_size=chat.vocab_size, endoftext=chat.endoftext)
        for split in SPLITS
    }
    # Named by the tokenizer: one that is trained again after an update of its library may be another.
    name = f"encoded-{file_md5(stage.path('tokenizer.json'))[:8]}"
    for encoded in at.map(encode, shards, name, "shards encoded"):
        ids, start = np.fromfile(encoded / IDS, dtype_of(chat.vocab_size)), 0
        for part in json.loads((encoded / PARTS).read_text()):
            split, tokens = part.pop("split"), part.pop("tokens")
            writers[split].append(ids[start : start + tokens], **part)
            start += tokens
    return {split: writer.close() for split, writer in writers.items()}


@cache
def _loaded(tokenizer: Path, digest: str) -> ChatTokenizer:
    """A tokenizer, once in a process; a file that changes is another."""
    return ChatTokenizer.load(tokenizer)


def _encode_shard(tokenizer: Path, shard: Path, out: Path) -> None:
    """The ids of a shard's texts, each followed by end-of-text, by split and corpus; and how many of what there are."""
    chat, parts = _loaded(tokenizer, file_md5(tokenizer)), []
    dtype = dtype_of(chat.vocab_size)
    rows = pd.read_parquet(shard / ROWS, columns=["split", "corpus", "text"])
    with (out / IDS).open("wb") as file:
        for (split, corpus), own in rows.groupby(["split", "corpus"]):
            texts, tokens = own["text"].tolist(), 0
            for encoding in chat.tokenizer.encode_batch_fast(texts):
                ids = np.asarray([*encoding.ids, chat.endoftext], dtype)
                file.write(ids.tobytes())
                tokens += len(ids)
            size = sum(len(text.encode()) for text in texts)
            parts.append({"split": split, "corpus": corpus, "tokens": tokens, "bytes": size, "documents": len(texts)})
    (out / PARTS).write_text(json.dumps(parts))


def _user_comparisons(stage: "Work[Prepare]", chat: ChatTokenizer, report: CorpusReport) -> Iterator[Comparison]:
    for comparison in clean_comparisons(stage.read("data"), report):
        said, longest = as_chat(comparison.messages), stage.limits.max_prompt_tokens
        report.cut["user comparisons"] += chat.is_cut(said, max_tokens=longest)
        yield comparison


def _export_conversations(
    stage: "Work[Prepare]", shards: list[Path], chat: ChatTokenizer, report: CorpusReport
) -> None:
    """Pass 3: demonstrations and prompts."""
    params, talks = stage.section, [shard for shard in shards if read_found(shard)["kind"] == "demonstrations"]
    pool = PromptPool(chat, max_tokens=stage.limits.max_prompt_tokens, per_conversation=params.prompts_per_conversation)
    for split in SPLITS:
        rows = (row for shard in talks for row in _demonstrations(shard, split, stage, chat, report))
        count = write_records(stage.path(f"demonstrations/{split}.jsonl"), rows)
        report.kept[f"{split} demonstrations"] = count
    with Progress(len(talks), "shards searched for prompts") as progress:
        for shard in talks:
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
    """The conversations of a shard with the role each plays after pretraining."""
    frame = pd.read_parquet(shard / ROWS, columns=["id", "group", "split", "messages"])
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
