"""Texts that are nearly alike (Broder 1997; Brown et al. 2020, appendix A: MinHash)."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.sections.base import Count, section

if TYPE_CHECKING:
    from components.data.treating.documents import Treating


@section
class NearDuplicates:
    """Texts whose sets of word n-grams are much the same: of those that are joined, directly or by others between them,
    the first stays.

    Two sets of Jaccard similarity s agree in one of the bands with probability 1 - (1 - s^rows)^bands, which for 14
    bands of 8 is a half at 0.68, 0.65 at 0.72 and 0.92 at 0.8.
    """

    kind: Literal["near_duplicates"]
    n: Count = 5
    bands: Count = 14
    rows: Count = 8  # a band

    def apply(self, shards: list[Path], treating: "Treating") -> list[Path]:
        """The shards without texts that are joined to an earlier one."""
        from components.data.treating.near_duplicates import without_near_duplicates

        return without_near_duplicates(shards, treating, self)


SECTION = NearDuplicates
