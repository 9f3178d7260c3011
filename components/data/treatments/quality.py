"""Documents that read like a corpus one trusts (Brown et al. 2020, appendix A: a classifier and a Pareto rule)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from components.sections.base import Count, Positive, section

if TYPE_CHECKING:
    from components.data.treating.documents import Treating


@section
class Quality:
    """A classifier of hashed words learns to tell `reference` from `corpora`; of `corpora` a document with score s is
    kept with probability (2 - s)^-alpha: not the best alone, and of the worst a few.
    """

    kind: Literal["quality"]
    reference: Annotated[tuple[str, ...], Field(min_length=1)]
    corpora: Annotated[tuple[str, ...], Field(min_length=1)]
    alpha: Positive = 9.0
    sample: Count = 20_000  # documents of each of the two kinds, at most

    @model_validator(mode="after")
    def _nothing_is_both(self) -> "Quality":
        if both := set(self.reference) & set(self.corpora):
            raise ValueError(f"{', '.join(sorted(both))} stands under reference and under corpora")
        return self

    def apply(self, shards: list[Path], treating: "Treating") -> list[Path]:
        """The shards without documents of low quality, most of them."""
        from components.data.treating.quality import of_quality

        return of_quality(shards, treating, self)


SECTION = Quality
