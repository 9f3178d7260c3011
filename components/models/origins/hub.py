"""A repository of the Hugging Face hub."""

import logging
import re
from pathlib import Path
from typing import Literal

from components.models.origins.origin import Origin, OriginError
from components.sections.base import section

logger = logging.getLogger(__name__)
# Weights, configuration and tokenizer; neither pickles nor code.
WANTED = ["*.json", "model*.safetensors", "*.jinja"]


@section
class HubOrigin(Origin):
    """A revision of a repository of the hub; what was fetched before is taken from the hub's own cache."""

    kind: Literal["hub"]
    repository: str
    revision: str

    def bring(self, downloads: Path) -> Path:
        from huggingface_hub import snapshot_download

        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            logger.warning("revision %s may move unnoticed: name a commit of %s", self.revision, self.repository)
        try:
            folder = snapshot_download(self.repository, revision=self.revision, allow_patterns=WANTED)
        except (OSError, ValueError) as error:
            raise OriginError(f"{self.repository} cannot be had from the hub: {error}") from error
        return Path(folder)

    def describe(self) -> str:
        return f"{self.repository}@{self.revision}"


SECTION = HubOrigin
