"""The steps of a treatment, one after another, and what they leave behind."""

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from components.data.records import Document, RecordError, write_records
from components.data.treating.documents import Treating, dropped, kept, read_shards

if TYPE_CHECKING:
    from components.stages.treat import Treat
    from components.work import Work


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
    shards = read_shards(files, _treating(stage, "read"))
    steps = [("read", shards)]
    counts = {"read": _count(shards)}
    for number, step in enumerate(params.steps, start=1):
        name = f"{number}_{step.kind}"
        treating = _treating(stage, name)
        shards = step.apply(shards, treating)
        steps.append((name, shards))
        counts[name] = _count(shards)
        stage.metrics[name] = treating.figures
    _check(counts)
    _write(stage, shards, steps)
    _pass_on(data, stage.path("records"))
    stage.metrics["left"] = {
        name: {corpus or "unnamed": own for corpus, own in found.items()} for name, found in counts.items()
    }
    _report(stage, counts)


def _treating(stage: "Work[Treat]", name: str) -> Treating:
    params = stage.section
    folder = stage.state / name
    folder.mkdir(parents=True, exist_ok=True)
    return Treating(folder, params.workers, stage.seed, params.memory_mb, stage.path("items"))


def _count(shards: list[Path]) -> dict[str, dict[str, int]]:
    """Documents and characters of each corpus."""
    found: dict[str, dict[str, int]] = {}
    for shard in shards:
        for corpus, texts in kept(shard, "corpus", "text").groupby("corpus")["text"]:
            own = found.setdefault(str(corpus), {"documents": 0, "characters": 0})
            own["documents"] += len(texts)
            own["characters"] += int(texts.str.len().sum())
    return found


def _check(counts: dict[str, dict[str, Any]]) -> None:
    for before, after in zip(counts, list(counts)[1:], strict=False):
        if not counts[after]:
            raise RecordError(f"{after} leaves no document of {_sum(counts[before])}: its parameters ask too much")


def _sum(count: dict[str, dict[str, int]]) -> int:
    return sum(own["documents"] for own in count.values())


def _write(stage: "Work[Treat]", shards: list[Path], steps: list[tuple[str, list[Path]]]) -> None:
    """Records that are left, a file a shard, and what each step took from it."""
    treating = _treating(stage, "write")
    by_shard = list(zip(*(found for _, found in steps), strict=True))
    write = partial(_write_shard, [name for name, _ in steps], {str(own[-1]): own for own in by_shard})
    for name in ("records/documents", "taken"):
        stage.path(name).mkdir(parents=True, exist_ok=True)
    for number, folder in enumerate(treating.map(write, shards, "records", "shards written")):
        shutil.copyfile(folder / "documents.jsonl", stage.path(f"records/documents/part-{number:05d}.jsonl"))
        shutil.copyfile(folder / "taken.jsonl", stage.path(f"taken/part-{number:05d}.jsonl"))


def _write_shard(names: list[str], steps: dict[str, tuple[Path, ...]], shard: Path, out: Path) -> None:
    write_records(
        out / "documents.jsonl",
        (
            Document(id=name, group=group, corpus=corpus, text=text)
            for name, group, corpus, text in kept(shard, "id", "group", "corpus", "text").itertuples(index=False)
        ),
    )
    parts = [dropped(own).assign(step=name) for name, own in zip(names, steps[str(shard)], strict=True)]
    taken = pd.concat(parts)[["id", "corpus", "step", "why"]]
    taken.to_json(out / "taken.jsonl", orient="records", lines=True, force_ascii=False)


def _pass_on(data: Path, out: Path) -> None:
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and path.name != "documents"):
        shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)


def _report(stage: "Work[Treat]", counts: dict[str, dict[str, dict[str, int]]]) -> None:
    """Documents and characters after each step, and what each step found."""
    corpora = sorted({corpus for count in counts.values() for corpus in count})
    page = "# What is left of the documents\n\n| after | " + " | ".join(name or "unnamed" for name in corpora)
    page += " |\n|---" * 1 + "|" + "---|" * len(corpora) + "\n"
    for name, count in counts.items():
        cells = [count.get(corpus, {"documents": 0, "characters": 0}) for corpus in corpora]
        page += (
            f"| {name} | " + " | ".join(f"{c['documents']} ({c['characters'] / 1e6:.1f} MB)" for c in cells) + " |\n"
        )
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
