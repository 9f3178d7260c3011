"""A data set of the Hugging Face hub."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.data.sources.source import Source, SourceError
from components.sections.base import section

if TYPE_CHECKING:
    from components.data.sources.source import Rows

logger = logging.getLogger(__name__)


@section
class HubSource(Source):
    """A data set of the Hugging Face hub, through the optional `datasets` package (`pip install .[hub]`)."""

    kind: Literal["hub"]
    dataset: str
    split: str
    revision: str

    def read(self, downloads: Path) -> "Rows":
        from components.data.rows import as_record
        from components.progress import Progress

        try:
            from datasets import load_dataset  # an optional extra
        except ImportError:
            raise SourceError("the hub source needs the extra: pip install '.[hub]'") from None
        name = self.dataset.rstrip("/").rsplit("/", 1)[-1]
        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            logger.warning("revision %s may move unnoticed: name a commit of %s", self.revision, self.dataset)
        try:
            rows = load_dataset(self.dataset, split=self.split, revision=self.revision)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.dataset} cannot be read from the hub: {error}") from error
        with Progress(max(1, len(rows)), "rows read") as progress:
            for number, row in enumerate(rows, start=1):
                progress.advance()
                yield as_record(
                    row, origin=f"{self.dataset}:{number}", name=f"{name}-{number}", group=f"{self.split}:{number}"
                )

    def digest(self) -> str:
        return f"revision:{self.revision}"


SECTION = HubSource
