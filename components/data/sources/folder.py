"""Every file below a folder."""

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.data.sources.source import Source, SourceError, advance_to, read_counted, readable_names
from components.sections.base import section

if TYPE_CHECKING:
    from components.data.sources.source import Rows

logger = logging.getLogger(__name__)
ROOT_VARIABLE = "GPTLINEAGE_ROOT"


@section
class FolderSource(Source):
    """Every file below a folder (docs/data.md says which are read, and which columns mean what)."""

    kind: Literal["folder"]
    path: str

    def read(self, downloads: Path) -> "Rows":
        from components.data.records import PROBLEM_LIMIT
        from components.progress import Progress

        root = self._root()
        paths = _readable(root)
        unread = [str(path.relative_to(root)) for path in sorted(set(_visible(root)) - set(paths))]
        if unread:
            more = f" and {len(unread) - PROBLEM_LIMIT} more" if len(unread) > PROBLEM_LIMIT else ""
            named = ", ".join(unread[:PROBLEM_LIMIT])
            logger.warning("not read: %s%s (%s are; links to folders are not followed)", named, more, readable_names())
        if not paths:
            raise SourceError(f"ingest.source.path {root} holds no file that can be read ({readable_names()})")
        sizes = [path.stat().st_size for path in paths]
        with Progress(max(1, sum(sizes) // 1000), "kB read") as progress:
            before = 0
            for path, size in zip(paths, sizes, strict=True):
                yield from read_counted(path, path.relative_to(root).as_posix(), progress, before)
                before += size
                advance_to(progress, before)

    def digest(self) -> str:
        found = hashlib.sha256()
        root = self._root()
        for path in _readable(root):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            found.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0{content}\n".encode())
        return f"sha256:{found.hexdigest()}"

    def is_missing(self) -> bool:
        return not self._located().exists()

    def _located(self) -> Path:
        """The folder; a relative path starts at the repository, in a variant's copy too."""
        return Path(os.environ.get(ROOT_VARIABLE, ".")) / self.path

    def _root(self) -> Path:
        root = self._located()
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
    from components.data.containers import endings

    return [path for path in _visible(root) if path.is_file() and endings(path)]


SECTION = FolderSource
