"""A folder of one-idea modules, of which a parameter's `kind` names one: another is added without editing its users.

Each module of the folder that can be named declares its section under the name SECTION, whose `kind` is the module's
name. Its other parameters are the section's, and what it does is the section's own methods. A node depends on the
module that its parameters name, and on no other of the folder (`flows.render`).
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MARK = "\nSECTION = "


@dataclass(frozen=True)
class Seam:
    """The type of a parameter that is one of the sections of a package, told apart by `kind`."""

    package: str
    without: str = ""  # a module that cannot be named here, such as the one that uses the others

    def sections(self) -> Iterator[tuple[str, type]]:
        """Names and sections of the folder's modules."""
        folder = Path(str(importlib.import_module(self.package).__file__)).parent
        for path in sorted(folder.glob("*.py")):
            if path.stem != self.without and MARK in path.read_text(encoding="utf-8"):
                yield path.stem, importlib.import_module(f"{self.package}.{path.stem}").SECTION

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(kind) for name, kind in self.sections()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")
