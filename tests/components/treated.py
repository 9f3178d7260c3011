"""Documents in shards, for tests of treatments."""

import json

import pandas as pd

from components.data.treating.documents import Treating, kept, read_shards
from components.data.workers.local import here

WORDS = [f"w{number}" for number in range(4000)]


def prose(draw, count):
    return " ".join(draw.choice(WORDS) for _ in range(count))


def files_of(folder, *parts):
    """Files of documents, each given as (id, text) or (id, corpus, text)."""
    paths = []
    for number, rows in enumerate(parts):
        path = folder / f"documents/part-{number:05d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        full = [row if len(row) == 3 else (row[0], "", row[1]) for row in rows]
        lines = ({"id": name, "corpus": corpus, "text": text} for name, corpus, text in full)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths.append(path)
    return paths


def treating(folder, seed=1):
    folder.mkdir(parents=True, exist_ok=True)
    return Treating(folder, here, 256, seed, folder / "items")


def shards_of(folder, *parts):
    return read_shards(files_of(folder, *parts), treating(folder / "read"))


def left(shards):
    """What is left, as {id: text}, in its order."""
    frame = pd.concat([kept(shard) for shard in shards])
    assert frame["number"].is_unique and frame["number"].is_monotonic_increasing
    return dict(zip(frame["id"], frame["text"], strict=True))
