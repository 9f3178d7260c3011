"""Which language model a pipeline pretrains."""

from pydantic import model_validator

from components.models.sizes import parse_size
from components.sections.base import section


@section
class Model:
    """The language model; its shape is a key of `components.models.sizes.SIZES` or LAYERSxWIDTHxHEADS.

    Not `size`: DVC leaves keys of that name out of what its run cache goes by, and would restore another shape's model.
    """

    shape: str

    @model_validator(mode="after")
    def _shape_is_known(self) -> "Model":
        parse_size(self.shape)
        return self
