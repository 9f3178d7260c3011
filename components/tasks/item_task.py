"""Evaluations of a file of items (docs/evaluation.md): what they have in common."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from components.sections.base import section
from components.sections.files import InputFile
from components.tasks.task import Fed, Task, compared

if TYPE_CHECKING:
    from components.evaluation.item_figures import Figure
    from components.evaluation.items import Item
    from components.tasks.bench import Bench

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$")]
BOUNDS = ("", "_low", "_high")
AGAINST = "{measure}_difference{bound}"


@section
class ItemTask(Task):
    """A figure is `<subject>.<name>.<measure>`; `_low` and `_high` are its 95 % interval by bootstrap over groups.

    `<measure>_difference` is how far it is above the reference's, on the same items, with `_p` of a permutation test.
    """

    name: Name  # what its figures are called by
    file: InputFile

    measures: ClassVar[Mapping[str, str]] = {}
    """Its measures with what they are in words, the one that it is known by first."""

    asks: ClassVar[str] = "models"
    """Which of the node's inputs it measures."""

    asked: ClassVar[str] = ""
    """The key of an item before which answered examples may stand (`few_shot`); none where there is no such key."""

    @property
    def leaves(self) -> Sequence[str]:  # type: ignore[override]  # they have the task's name
        plain = (measure + bound for measure in self.measures for bound in BOUNDS)
        paired = (AGAINST.format(measure=m, bound=bound) for m in self.measures for bound in (*BOUNDS, "_p"))
        return [f"{self.name}.{leaf}" for leaf in ("items", *plain, *paired)]

    def subjects(self, fed: Fed) -> list[str]:
        return list(fed[self.asks])

    def known_by(self, fed: Fed) -> Iterator[tuple[str, str, str]]:
        measure, words = next(iter(self.measures.items()))
        yield from ((subject, f"{self.name}.{measure}", f"{self.name}: {words}") for subject in self.subjects(fed))

    @abstractmethod
    def items(self) -> "Sequence[Item]":
        """The items of its file.

        Raises:
            RecordError: rows break their schema.
        """

    @abstractmethod
    def judge(self, subject: Any, items: Any) -> "Mapping[str, Figure]":
        """Each measure of a subject, a TextScorer unless `asks` says otherwise, on the items."""

    @property
    def inner(self) -> "ItemTask":
        """The task that asks of its items."""
        return self

    def sets(self, seed: int) -> "Iterator[tuple[str, Sequence[Item]]]":
        """Its items, and what its figures of them are called by besides its name."""
        yield self.name, self.items()

    def shown(self, item: Any) -> str:
        """An item with its answer, as an example for others."""
        raise NotImplementedError(f"{type(self).__name__} has no examples")

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        for name, figures in self.compare(bench, self.items()).items():
            metrics[name].setdefault(self.name, {}).update(figures)  # beside a few_shot's of this name

    def compare(self, bench: "Bench", items: "Sequence[Item]") -> dict[str, dict[str, float]]:
        """The figures of every subject on some items, those of the others beside the reference's."""
        found = {name: self.judge(self.subject(bench, name), items) for name in self.subjects(bench.fed)}
        reference = next(iter(bench.fed["reference"]), "")
        others = {name: found.get(reference) if name in compared(bench.fed) else None for name in found}
        return {name: self.figures(own, others[name], items, seed=bench.work.seed) for name, own in found.items()}

    def subject(self, bench: "Bench", name: str) -> Any:
        """What is asked, of what a node is fed."""
        from components.evaluation.text_scorer import TextScorer

        return TextScorer(bench.network(name), bench.tokenizer, bench.precision)

    def figures(
        self,
        measured: "Mapping[str, Figure]",
        other: "Mapping[str, Figure] | None",
        items: "Sequence[Item]",
        *,
        seed: int,
    ) -> dict[str, float]:
        """Every measure with its interval and, where there is another model's, the differences from it."""
        from components.evaluation.item_figures import difference, interval
        from components.evaluation.items import groups_of

        groups = groups_of(items)
        found: dict[str, float] = {"items": len(items)}
        for name, own in measured.items():
            found |= {name + bound: value for bound, value in interval(own, groups, seed=seed).items()}
        for name, against in (other or {}).items():
            between = difference(measured[name], against, groups, seed=seed)
            found |= {AGAINST.format(measure=name, bound=bound): value for bound, value in between.items()}
        return found

    @property
    def path(self) -> Path:
        """Where its file lies."""
        return Path(self.file)
