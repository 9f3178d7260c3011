"""A version of MLflow's registry."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from components.models.origins.origin import Origin, OriginError
from components.sections.base import section


@section
class RegisteredOrigin(Origin):
    """A registered version, such as `models:/gpt-sft/3`; not an alias, which would move unnoticed."""

    kind: Literal["registered"]
    address: Annotated[str, Field(pattern=r"^models:/[^/@]+/[0-9]+$")]

    def bring(self, downloads: Path) -> Path:
        from components.mlflow_store import download_model

        folder = download_model(self.address)
        if folder is None:
            raise OriginError(f"the registry has no {self.address}; `make ui` shows its models")
        return folder

    def describe(self) -> str:
        return re.sub("^models:/", "", self.address)


SECTION = RegisteredOrigin
