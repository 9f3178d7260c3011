"""Texts that occurred before, letter for letter."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.sections.base import section

if TYPE_CHECKING:
    from components.data.treating.documents import Treating


@section
class ExactDuplicates:
    """Of equal texts the first stays, whatever its corpus."""

    kind: Literal["exact_duplicates"]

    def apply(self, shards: list[Path], treating: "Treating") -> list[Path]:
        """The shards without texts that stand in them before."""
        from components.data.treating.exact_duplicates import without_duplicates

        return without_duplicates(shards, treating)


SECTION = ExactDuplicates
