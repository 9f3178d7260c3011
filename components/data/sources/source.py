"""What a source of raw records is, and what sources of files share."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from components.data.records import RecordError

if TYPE_CHECKING:
    from components.data.rows import Malformed, RawRecord
    from components.progress import Progress

    Rows: TypeAlias = Iterator[RawRecord | Malformed]

logger = logging.getLogger(__name__)


class SourceError(RecordError):
    """A source cannot be read; the message names it and the way out."""


class Source(ABC):
    """Raw records, and what tells this state of them from any other."""

    @abstractmethod
    def read(self, downloads: Path) -> "Rows":
        """Yield the records, and each row or file that gives none with the reason; what is fetched lies in a folder.

        Raises:
            SourceError: the source is missing, is another version, or has another checksum.
        """

    @abstractmethod
    def digest(self) -> str:
        """A version, or the SHA-256 of what would be read.

        Raises:
            SourceError: the source is missing.
        """

    def is_missing(self) -> bool:
        """Whether the source is a folder that is not on this machine."""
        return False


def read_counted(path: Path, name: str, progress: "Progress", before: int) -> "Rows":
    """A file's records; one that holds none is named. The progress counts kB, of which `before` bytes are read."""
    from components.data.files import read_file

    count = 0
    for record in read_file(path, name, lambda position: advance_to(progress, before + position)):
        count += 1
        yield record
    if not count:
        logger.warning("%s holds no record", path)


def advance_to(progress: "Progress", position: int) -> None:
    """Have a progress that counts kB stand at a byte."""
    if position // 1000 > progress.done:
        progress.advance(position // 1000 - progress.done)


def readable_names() -> str:
    """How the names of files end that can be read, for messages."""
    from components.data.containers import PACKED, SUFFIXES

    return f"{', '.join(SUFFIXES)}, and with {' or '.join(PACKED)} after it"
