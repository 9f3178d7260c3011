"""What a family is: a network to pretrain, and how another library stores such networks."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import model_validator

from components.models.config import GPTConfig
from components.models.families.keys import FormatError
from components.models.sizes import parse_size
from components.sections.base import section
from components.sections.seam import Seam

if TYPE_CHECKING:
    from components.models.transformer import GPT
    from components.stage import Node

MODEL = Annotated[Any, Seam(__package__)]


@section
class Family(ABC):
    """The language model that a pipeline pretrains: a family, by `kind`, and a shape.

    `shape` is a key of `components.models.sizes.SIZES` or LAYERSxWIDTHxHEADS. Not `size`: DVC leaves keys of that name
    out of what its run cache goes by, and would restore another shape's model.
    `zeroed`: how the names of weights end that begin at 0 in a new network; the others begin as GPT-2's.
    """

    zeroed: ClassVar[tuple[str, ...]] = ()
    shape: str

    @model_validator(mode="after")
    def _shape_is_known(self) -> "Family":
        parse_size(self.shape)
        return self

    @abstractmethod
    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        """The network for a tokenizer's vocabulary and a context length."""

    def unwired(self, node: "Node") -> Iterator[str]:
        """What does not go together with what feeds the node."""
        if node.inputs.get("base"):
            yield f"kind asks for a new network, and a model feeds {node.name} as `base`: `fed` goes on with it"

    def network(self, base: Path | None, *, vocab_size: int, context_length: int) -> "GPT":
        """A new network to pretrain."""
        from components.models.transformer import GPT

        assert base is None  # `unwired` has told
        return GPT(self.config(vocab_size=vocab_size, context_length=context_length), zeroed=self.zeroed)


@dataclass(frozen=True)
class Stored:
    """One of our tensors as others store it: by these names, put together in this way.

    rows: below each other; transposed: a [in, out] matrix; heads: a head's query, key and value together (GPT-NeoX).
    """

    names: tuple[str, ...]
    form: Literal["rows", "transposed", "heads"] = "rows"


@dataclass(frozen=True)
class Layout:
    """How `transformers` stores a family.

    Attributes:
        classes: by what `model_type` in a `config.json` may say, its class, and the one with a linear map to scores,
            for reward models, or None where there is none. The first is written, if `write` says no other.
        prefix: of weights below the head.
        read: a configuration from the keys of a `config.json`; raises FormatError.
        write: the keys of a `config.json` from a configuration.
        weights: for each of our tensors how it is stored, without the prefix.
        head: the weights of a head that is not the token embedding.
    """

    classes: Mapping[str, tuple[str, str | None]]
    prefix: str
    read: Callable[[Mapping[str, Any]], GPTConfig]
    write: Callable[[GPTConfig], dict[str, Any]]
    weights: Callable[[GPTConfig], dict[str, Stored]]
    head: str = "lm_head.weight"


def layout_of(family: str) -> Layout:
    """How a family is stored.

    Raises:
        FormatError: nothing says it.
    """
    layout: Layout | None = getattr(importlib.import_module(f"{__package__}.{family}"), "LAYOUT", None)
    if layout is None:
        raise FormatError(f"components/models/families/{family}.py has no LAYOUT, so other programs cannot read it")
    return layout


def layouts() -> dict[str, Layout]:
    """All families' forms by what `model_type` says."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    modules = (importlib.import_module(f"{__package__}.{name}") for name in names if not name.startswith("__"))
    found = [module.LAYOUT for module in modules if hasattr(module, "LAYOUT")]
    return {model_type: layout for layout in found for model_type in layout.classes}
