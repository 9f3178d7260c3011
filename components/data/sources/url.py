"""One file behind HTTPS."""

import hashlib
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.data.sources.source import Source, SourceError, advance_to, read_counted, readable_names
from components.sections.base import section

if TYPE_CHECKING:
    from components.data.sources.source import Rows


@section
class UrlSource(Source):
    """One file behind HTTPS, as those of a folder, refused if its SHA-256 differs."""

    kind: Literal["url"]
    url: Annotated[str, Field(pattern=r"^https://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def read(self, downloads: Path) -> "Rows":
        """Fetched once; the file is kept under its checksum."""
        from components.data.containers import endings
        from components.progress import Progress

        name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).name
        if not endings(PurePosixPath(name)):
            raise SourceError(f"{self.url}: its name ends in none of {readable_names()}")
        target = downloads / f"{self.sha256}{''.join(PurePosixPath(name).suffixes[-2:])}"
        if not target.exists():
            downloads.mkdir(parents=True, exist_ok=True)
            self._download(target.with_name(f"{self.sha256}.partial"), target)
        with Progress(max(1, target.stat().st_size // 1000), "kB read") as progress:
            yield from read_counted(target, name, progress, 0)

    def digest(self) -> str:
        return f"sha256:{self.sha256}"

    def _download(self, partial: Path, target: Path) -> None:
        try:
            urllib.request.urlretrieve(self.url, partial, _telling())
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise SourceError(f"{self.url} cannot be fetched to {partial}: {error}") from error
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            partial.unlink()
            raise SourceError(f"{self.url} has SHA-256 {digest}, ingest.source.sha256 says {self.sha256}")
        partial.replace(target)


def _telling() -> Callable[[int, int, int], None]:
    """What `urlretrieve` calls after each block: a progress that begins when the size is known."""
    from components.progress import Progress

    progress: list[Progress] = []

    def told(block: int, block_size: int, total: int) -> None:
        if total > 0:
            progress[:] = progress or [Progress(max(1, total // 1000), "kB fetched")]
            advance_to(progress[0], min(block * block_size, total))

    return told


SECTION = UrlSource
