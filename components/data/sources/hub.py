"""A data set of the Hugging Face hub."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.data.sources.source import Source, SourceError
from components.sections.base import section

if TYPE_CHECKING:
    from components.data.sources.source import Rows

logger = logging.getLogger(__name__)
ROWS_A_LINE = 10_000  # of the log: how many a set has is not known before its end


@section
class HubSource(Source):
    """A data set of the Hugging Face hub, through the optional `datasets` package (`pip install .[hub]`).

    Its rows are streamed: neither disk nor memory need hold them.
    """

    kind: Literal["hub"]
    dataset: str
    split: str
    revision: str

    def read(self, downloads: Path) -> "Rows":
        from components.data.rows import Place, as_records

        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            logger.warning("revision %s may move unnoticed: name a commit of %s", self.revision, self.dataset)
        name = self.dataset.rstrip("/").rsplit("/", 1)[-1]
        for number, row in enumerate(self._rows(), start=1):
            if number % ROWS_A_LINE == 0:
                logger.info("%d rows read", number)
            yield from as_records(row, Place(self.dataset, self.split, number, name))

    def digest(self) -> str:
        return f"revision:{self.revision}"

    def _rows(self) -> Iterator[Any]:
        try:
            from datasets import load_dataset  # an optional extra
        except ImportError:
            raise SourceError("the hub source needs the extra: pip install '.[hub]'") from None
        try:
            yield from load_dataset(self.dataset, split=self.split, revision=self.revision, streaming=True)
        except Exception as error:  # of whatever its loaders and the network raise
            raise SourceError(f"{self.dataset} cannot be read from the hub: {error}") from error


SECTION = HubSource
