"""What evaluations ask, taken out of what is trained on (Brown et al. 2020, appendix C)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from components.sections.base import Count, NaturalNumber, section
from components.sections.files import InputFile

if TYPE_CHECKING:
    from components.data.treating.documents import Treating


@section
class Against:
    """A file of evaluation items."""

    name: Annotated[str, Field(pattern=r"^\w[\w-]*$")]
    file: InputFile


@section
class Contamination:
    """n-grams of words that stand in an item are cut out of documents, with `margin` characters on both sides.

    Pieces of less than `shortest` characters are left out, as are documents in more than `most_pieces` pieces; n-grams
    of more than `common` documents are no sign of an item. How many items are dirty is told of the documents as they
    came, and by n-grams as long as the items are (8 to 13 words); `clean/` has the items that are not, without those
    of fewer words, of which it cannot be told. Words are what blanks part: a text without blanks is one.
    """

    kind: Literal["contamination"]
    against: Annotated[tuple[Against, ...], Field(min_length=1)]
    n: Count = 13
    margin: NaturalNumber = 200
    shortest: Count = 200
    most_pieces: Count = 10
    common: Count = 10

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Contamination":
        names = [each.name for each in self.against]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"against: {', '.join(twice)} stands there twice")
        return self

    def apply(self, shards: list[Path], treating: "Treating") -> list[Path]:
        """The shards without what stands in the items."""
        from components.data.treating.contamination import decontaminated

        return decontaminated(shards, treating, self)


SECTION = Contamination
