"""How often classifiers tell the right class, side by side."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from components.sections.base import section
from components.tasks.item_task import AGAINST, BOUNDS, ItemTask
from components.tasks.task import Fed

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Item
    from components.models.classifier import ClassifierGPT
    from components.tasks.bench import Bench


class Told(NamedTuple):
    """What a classifier tells of each item, what is right, both as numbers, and how many classes it has; 0: choices."""

    own: list[int]
    true: list[int]
    classes: int


@section
class LabelsTask(ItemTask):
    """Share of items told rightly, by each of some classifiers; and how far each is above the last one.

    With it `matthews` where there are two classes (CoLA's measure), and `majority`: the share of the commonest class.
    """

    kind: Literal["labels"]
    transformation: Literal["classification", "entailment", "similarity", "multiple_choice"]
    classifiers: Annotated[tuple[str, ...], Field(min_length=1)]  # the nodes that made them; the last is the baseline
    asks: ClassVar = "classifiers"
    needs: ClassVar = ("classifiers",)
    measures: ClassVar = {"accuracy": "accuracy"}

    @property
    def leaves(self) -> list[str]:  # type: ignore[override]
        plain = [f"accuracy{bound}" for bound in BOUNDS]
        paired = [AGAINST.format(measure="accuracy", bound=bound) for bound in (*BOUNDS, "_p")]
        return [f"{self.name}.{leaf}" for leaf in ("items", "majority", "matthews", *plain, *paired)]

    def subjects(self, fed: Fed) -> list[str]:
        return [name for name in self.classifiers if name in fed["classifiers"]]

    def unfed(self, fed: Fed) -> Iterator[str]:
        yield from (name for name in self.classifiers if name not in fed["classifiers"])

    def known_by(self, fed: Fed) -> Iterator[tuple[str, str, str]]:
        yield from super().known_by(fed)
        baseline = self.classifiers[-1]
        for name in self.subjects(fed):
            if name != baseline:
                yield name, f"{self.name}.accuracy_difference", f"{self.name}: accuracy above {baseline}"

    def items(self) -> "list[Item]":
        from components.evaluation.items import read_items
        from components.evaluation.transformations import TRANSFORMATIONS

        return read_items(self.path, TRANSFORMATIONS[self.transformation].item)

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        """Raises: RecordError: a classifier was trained on another task, or an item is of a class that it never saw."""
        from components.evaluation.classes import majority, matthews

        items, baseline = self.items(), self.classifiers[-1]
        told = {name: self._told(bench, name, items) for name in self.subjects(bench.fed)}
        right = {name: self.judge(found, items) for name, found in told.items()}
        for name, found in told.items():
            other = None if name == baseline else right.get(baseline)
            figures = self.figures(right[name], other, items, seed=bench.work.seed)
            figures["majority"] = majority(found.true)
            if found.classes == 2:
                figures["matthews"] = matthews(found.own, found.true)
            metrics[name].setdefault(self.name, {}).update(figures)

    def _told(self, bench: "Bench", name: str, items: "list[Item]") -> Told:
        from components.checkpoints import load_classifier, load_tokenizer
        from components.data.records import RecordError
        from components.evaluation.classes import told
        from components.evaluation.transformations import encode_all, places

        folder = bench.work.read_all("classifiers")[name]
        model: ClassifierGPT = load_classifier(folder).to(bench.device)
        if model.transformation != self.transformation:
            raise RecordError(
                f"{self.name}: {name} was fine-tuned for {model.transformation}, not for {self.transformation}"
            )
        sequences = encode_all(items, self.transformation, load_tokenizer(folder), model.config.context_length)
        own = told(model, sequences, precision=bench.precision)
        return Told(own, places(items, self.transformation, model.classes, path=self.path), len(model.classes))

    def judge(self, subject: Told, items: "list[Item]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import shares

        return {"accuracy": shares([own == true for own, true in zip(subject.own, subject.true, strict=True)])}


SECTION = LabelsTask
