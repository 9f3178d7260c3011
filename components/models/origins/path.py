"""A folder or a file on this machine."""

import os
from pathlib import Path
from typing import Literal

from components.data.sources.folder import ROOT_VARIABLE
from components.models.origins.origin import Origin, OriginError
from components.sections.base import section


@section
class PathOrigin(Origin):
    """A folder as `transformers` or this project writes it, or a GGUF file; relative paths start at the repository."""

    kind: Literal["path"]
    path: str

    def bring(self, downloads: Path) -> Path:
        found = Path(os.environ.get(ROOT_VARIABLE, ".")) / self.path
        if not found.exists():
            raise OriginError(f"adopt.origin.path {found} does not exist")
        return found

    def describe(self) -> str:
        return self.path


SECTION = PathOrigin
