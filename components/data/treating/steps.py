"""The steps of a treatment, one after another, and what they leave behind."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from components.data.records import Document, RecordError, write_records
from components.data.shards import Crew
from components.data.treating.documents import Treating, dropped, kept, read_shards

if TYPE_CHECKING:
    from components.stages.treat import Treat
    from components.work import Work

Counts: TypeAlias = dict[str, dict[str, dict[str, int]]]  # by step, by corpus: documents and characters


def treat(stage: "Work[Treat]") -> None:
    """The whole stage; what each step made of a shard is kept in the state folder until the stage ends.

    Raises:
        RecordError: records break their schema, there are no documents, or none is left.
    """
    data, params = stage.read("data"), stage.section
    files = sorted(data.glob("documents/*.jsonl"))
    if not files:
        raise RecordError(f"{data}/ holds no documents, and a treatment is of documents")
    stage.path("items").mkdir(parents=True, exist_ok=True)
    with params.workers.open() as crew:
        counts = _apply(stage, files, crew)
    _pass_on(data, stage.path("records"))
    stage.metrics["left"] = {
        name: {corpus or "unnamed": own for corpus, own in found.items()} for name, found in counts.items()
    }
    _report(stage, counts)


def _apply(stage: "Work[Treat]", files: list[Path], crew: Crew) -> Counts:
    """All steps, and what is left after each."""
    params, treating = stage.section, _treating(stage, "read", crew)
    shards = read_shards(files, treating)
    counts = {"read": _count(shards, treating)}
    _check_names(params.steps, set(counts["read"]))
    steps = [("read", shards)]
    for number, step in enumerate(params.steps, start=1):
        name = f"{number}_{step.kind}"
        treating = _treating(stage, name, crew)
        shards = step.apply(shards, treating)
        steps.append((name, shards))
        counts[name] = _count(shards, treating)
        stage.metrics[name] = treating.figures
        if not counts[name]:
            raise RecordError(f"{name} leaves no document: its parameters ask too much")
    _write(stage, steps, _treating(stage, "write", crew))
    return counts


def _check_names(steps: Sequence[Any], corpora: set[str]) -> None:
    """Raises: RecordError: documents have no character, or a step names a corpus that none is of."""
    if not corpora:
        raise RecordError("no document has a character that is left once it is cleaned")
    named = {name for step in steps for key in ("reference", "corpora") for name in getattr(step, key, ())}
    if unknown := sorted(named - corpora):
        there = ", ".join(map(repr, sorted(corpora)))
        raise RecordError(f"treat.steps names the corpora {', '.join(unknown)}; documents are of {there}")


def _treating(stage: "Work[Treat]", name: str, crew: Crew) -> Treating:
    params = stage.section
    folder = stage.state / name
    folder.mkdir(parents=True, exist_ok=True)
    return Treating(folder, crew, params.memory_mb, stage.seed, stage.path("items"))


def _count(shards: list[Path], treating: Treating) -> dict[str, dict[str, int]]:
    """Documents and characters of each corpus."""
    found: dict[str, dict[str, int]] = {}
    for folder in treating.map(_count_shard, shards, "counts", "shards counted"):
        for corpus, own in json.loads((folder / "counts.json").read_text()).items():
            total = found.setdefault(corpus, {"documents": 0, "characters": 0})
            for key, value in own.items():
                total[key] += value
    return found


def _count_shard(shard: Path, out: Path) -> None:
    texts = kept(shard, "corpus", "text")
    lengths = texts["text"].str.len().groupby(texts["corpus"])
    counts = {str(name): {"documents": len(own), "characters": int(own.sum())} for name, own in lengths}
    (out / "counts.json").write_text(json.dumps(counts))


def _write(stage: "Work[Treat]", steps: list[tuple[str, list[Path]]], treating: Treating) -> None:
    """Records that are left, a file a shard, and what each step took from it."""
    names = [name for name, _ in steps]
    by_shard = list(zip(*(shards for _, shards in steps), strict=True))
    for name in ("records/documents", "taken"):
        stage.path(name).mkdir(parents=True, exist_ok=True)
    written = treating.map(partial(_write_shard, names), by_shard, "records", "shards written")
    for number, folder in enumerate(written):
        shutil.copyfile(folder / "documents.jsonl", stage.path(f"records/documents/part-{number:05d}.jsonl"))
        shutil.copyfile(folder / "taken.jsonl", stage.path(f"taken/part-{number:05d}.jsonl"))


def _write_shard(names: list[str], folders: tuple[Path, ...], out: Path) -> None:
    """What is left of a shard after all steps, and what each took; `folders` are those that the steps made of it."""
    rows = kept(folders[-1], "id", "group", "corpus", "text").itertuples(index=False)
    write_records(
        out / "documents.jsonl",
        (Document(id=name, group=group, corpus=corpus, text=text) for name, group, corpus, text in rows),
    )
    parts = [dropped(own).assign(step=name) for name, own in zip(names, folders, strict=True)]
    taken = pd.concat(parts)[["id", "corpus", "step", "why"]]
    taken.to_json(out / "taken.jsonl", orient="records", lines=True, force_ascii=False)


def _pass_on(data: Path, out: Path) -> None:
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and path.name != "documents"):
        shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)


def _report(stage: "Work[Treat]", counts: Counts) -> None:
    """Documents and characters after each step, and what each step found."""
    corpora = sorted({corpus for count in counts.values() for corpus in count})
    page = "# What is left of the documents (and millions of characters)\n\n| after | " + " | ".join(
        name or "unnamed" for name in corpora
    )
    page += " |\n|---|" + "---|" * len(corpora) + "\n"
    for name, count in counts.items():
        cells = [count.get(corpus, {"documents": 0, "characters": 0}) for corpus in corpora]
        page += f"| {name} | " + " | ".join(f"{c['documents']} ({c['characters'] / 1e6:.1f})" for c in cells) + " |\n"
    for name in list(counts)[1:]:
        page += f"\n## {name}\n\n| figure | value |\n|---|---|\n"
        page += "".join(f"| {key} | {value} |\n" for key, value in _flat(stage.metrics[name]))
    stage.path("report.md").write_text(page)
    stage.tracker.log_file(stage.path("report.md"))


def _flat(figures: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in figures.items():
        found += _flat(value, f"{before}{key}/") if isinstance(value, dict) else [(f"{before}{key}", value)]
    return found
