"""Where raw records come from: an installed package, a folder, an HTTPS address or the hub."""

import hashlib
import importlib.metadata
import importlib.util
import json
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.data.preferences import as_comparison
from components.data.records import Comparison, Demonstration, Document, Prompt
from components.schema import FolderSource, HubSource, Ingest, PackageSource, UrlSource

KINDS = {"documents": Document, "demonstrations": Demonstration, "prompts": Prompt, "comparisons": Comparison}
_SUFFIXES = (".txt", ".jsonl", ".parquet")


@dataclass(frozen=True)
class RawRecord:
    """A record as its source gave it: not validated yet, but with its kind and where it came from."""

    kind: str
    origin: str
    fields: dict[str, Any]


class SourceError(ValueError):
    """A source cannot be read; the message names it and the way out."""


def read_source(params: Ingest, *, downloads: Path) -> Iterator[RawRecord]:
    """Yield the records of a source, of every kind in `KINDS`.

    Raises:
        SourceError: the source is missing, is another version, or has another checksum.
    """
    source = params.source
    match source:
        case PackageSource():
            return _chitchat(source)
        case FolderSource():
            return _folder(Path(source.path))
        case UrlSource():
            return _file(_download(source, downloads))
        case HubSource():
            return _hub(source)


def _chitchat(source: PackageSource) -> Iterator[RawRecord]:
    """Human conversations of the BYU Chit-Chat Challenge (MIT licence); sender ids and times are left out."""
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise SourceError(f"the package {source.name} is not installed: pip install {source.name}=={source.version}")
    installed = importlib.metadata.version(source.name)
    if installed != source.version:
        raise SourceError(f"{source.name} is {installed}, ingest.source.version asks for {source.version}")
    conversations = json.loads((Path(spec.origin).parent / "dataset.json").read_text(encoding="utf-8"))
    for name in sorted(conversations):
        turns = [" ".join(part["text"] for part in turn) for turn in conversations[name]["messages"]]
        turns = [turn for turn in turns if turn.strip()]
        if len(turns) >= 2:
            ratings = {key: int(value) for key, value in conversations[name].get("ratings", {}).items()}
            record = {"id": name, "messages": _alternate(turns), "ratings": ratings}
            yield RawRecord("demonstrations", f"{source.name}:{name}", record)
        elif turns:
            yield RawRecord("documents", f"{source.name}:{name}", {"id": name, "text": turns[0]})


def _alternate(turns: Iterable[str]) -> list[dict[str, str]]:
    """Whoever opens the conversation is the user; whoever answers is the assistant."""
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def _folder(root: Path) -> Iterator[RawRecord]:
    paths = sorted(path for path in root.rglob("*") if path.suffix in _SUFFIXES)
    if not paths:
        raise SourceError(f"ingest.source.path {root} holds no {', '.join(_SUFFIXES)} file")
    for path in paths:
        yield from _file(path)


def _file(path: Path) -> Iterator[RawRecord]:
    if path.suffix == ".txt":
        text = path.read_text(encoding="utf-8")
        yield RawRecord("documents", str(path), {"id": path.stem, "text": text})
    elif path.suffix == ".parquet":
        yield from _rows(path, pd.read_parquet(path).to_dict(orient="records"))
    elif path.suffix == ".jsonl":
        yield from _rows(path, _json_lines(path))
    else:
        raise SourceError(f"{path}: expected one of {', '.join(_SUFFIXES)}")


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(f"{path}:{number}: not JSON: {error}") from None


def _rows(origin: Path | str, rows: Iterable[Any]) -> Iterator[RawRecord]:
    """Tell a row's kind by its columns; a row without an id gets the file's name and its line."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise SourceError(f"{origin}:{number}: a row is a JSON object, not a {type(row).__name__}")
        where = f"{origin}:{number}"
        record = {"id": f"{Path(origin).stem}-{number}"} | {key: _plain(value) for key, value in row.items()}
        try:
            record = as_comparison(record) if "chosen" in record else record
        except ValueError as error:
            raise SourceError(f"{where}: {error}") from None
        yield RawRecord(_kind_of(where, record), where, record)


def _kind_of(where: str, record: dict[str, Any]) -> str:
    if "replies" in record:
        return "comparisons"
    if "messages" in record:
        last = record["messages"][-1:] or [{}]
        return "prompts" if isinstance(last[0], dict) and last[0].get("role") == "user" else "demonstrations"
    if "text" in record:
        return "documents"
    columns = ", ".join(sorted(record))
    raise SourceError(f"{where}: needs a `text`, `messages`, `replies` or `chosen` column, has {columns}")


def _plain(value: Any) -> Any:
    """Parquet gives numpy arrays where JSON gives lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _download(source: UrlSource, downloads: Path) -> Path:
    """Fetch once; the file is kept under its checksum."""
    target = downloads / f"{source.sha256}{Path(source.url).suffix}"
    if not target.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        try:
            urllib.request.urlretrieve(source.url, partial)
        except OSError as error:
            raise SourceError(f"{source.url} cannot be fetched: {error}") from error
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        if digest != source.sha256:
            partial.unlink()
            raise SourceError(f"{source.url} has SHA-256 {digest}, ingest.source.sha256 says {source.sha256}")
        partial.replace(target)
    return target


def _hub(source: HubSource) -> Iterator[RawRecord]:
    try:
        from datasets import load_dataset  # noqa: PLC0415 (optional extra)
    except ImportError:
        raise SourceError("the hub source needs the extra: pip install '.[hub]'") from None
    rows = load_dataset(source.dataset, split=source.split, revision=source.revision)
    yield from _rows(source.dataset, rows)
