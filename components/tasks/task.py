"""What an evaluation is: figures of some of the models that an evaluating node is fed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from components.tasks.bench import Bench

# What the inputs of an evaluating node are made by, by the inputs' names.
Fed = Mapping[str, Sequence[str]]
REFEREES = {"gold": "gold score", "judge": "people's judge", "typicality": "typicality"}


class Task(ABC):
    """One evaluation. A figure is called `<subject>.<leaf>`, the subject being the node that made what is measured."""

    leaves: ClassVar[Sequence[str]] = ()
    """The figures that it may make of a subject, as names of files are matched: `*` and `[1-9]`."""

    needs: ClassVar[Sequence[str]] = ()
    """The inputs of the evaluating node, of those it may lack, without which there is nothing to measure."""

    headlines: ClassVar[Mapping[str, str]] = {}
    """Those that a lineage is known by, with what they are in words; `{reference}` stands for the reference's name."""

    @abstractmethod
    def subjects(self, fed: Fed) -> list[str]:
        """What it measures."""

    def known_by(self, fed: Fed) -> Iterator[tuple[str, str, str]]:
        """Subject, leaf and words of each headline."""
        reference = next(iter(fed["reference"]), "")
        for subject in self.subjects(fed):
            for leaf, words in self.headlines.items():
                yield subject, leaf, words.format(reference=reference)

    def unfed(self, fed: Fed) -> Iterator[str]:
        """What it names that feeds nothing to the node."""
        yield from ()

    @abstractmethod
    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        """Add the figures of every subject to nested metrics."""


def compared(fed: Fed) -> list[str]:
    """The models that are set against the reference: those that are asked as it is, in its chat or as plain text."""
    plain = next(iter(fed["reference"]), None) in fed["plain"]
    return [name for name in fed["models"] if name not in fed["reference"] and (name in fed["plain"]) == plain]
