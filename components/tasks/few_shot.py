"""What a model learns from examples that it is shown: K-shot curves (GPT-3, arXiv:2005.14165, section 2.4)."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from components.sections.base import NaturalNumber, section
from components.sections.files import InputFile
from components.sections.seam import Seam
from components.tasks.item_task import ItemTask
from components.tasks.task import Fed, Task

if TYPE_CHECKING:
    from components.evaluation.items import Item
    from components.tasks.bench import Bench


@section
class FewShotTask(Task):
    """Another task, its items after K answered ones of a file, for each K.

    Every item has examples of its own, drawn by seed, and with more shots those of fewer and some more; an item is
    never its own example. A figure is `<subject>.<the task's name>.shots_<K>.<measure>`.
    """

    kind: Literal["few_shot"]
    task: Annotated[Any, Seam("components.tasks", without="few_shot")]
    examples: InputFile  # rows such as the task's; not those that it measures on
    shots: Annotated[tuple[NaturalNumber, ...], Field(min_length=1)]
    separator: str = "\n\n"  # after each example

    needs: ClassVar = ()

    @model_validator(mode="after")
    def _task_has_examples(self) -> "FewShotTask":
        if not getattr(self.task, "asked", ""):
            raise ValueError(f"task: before an item of {self.task.kind} no examples can stand")
        if len(set(self.shots)) < len(self.shots):
            raise ValueError("shots: one of them stands there twice")
        return self

    @property
    def leaves(self) -> list[str]:  # type: ignore[override]  # they have the task's name
        return [leaf.replace(".", f".shots_{k}.", 1) for k in self.shots for leaf in self.task.leaves]

    def subjects(self, fed: Fed) -> list[str]:
        return list(self.task.subjects(fed))

    def known_by(self, fed: Fed) -> Iterator[tuple[str, str, str]]:
        for subject, leaf, words in self.task.known_by(fed):
            for k in self.shots:
                yield subject, leaf.replace(".", f".shots_{k}.", 1), f"{words}, {k} shots"

    @property
    def inner(self) -> ItemTask:
        """The task that asks of its items."""
        return self.task  # type: ignore[no-any-return]

    def sets(self, seed: int) -> "Iterator[tuple[str, Sequence[Item]]]":
        """The task's items behind so many examples, by the name of their figures, for each number of shots.

        Raises:
            RecordError: there are fewer examples than shots.
        """
        from components.data.records import RecordError

        items, pool = self.task.items(), replace(self.task, file=self.examples).items()
        drawn = self.drawn(items, pool, seed)
        fewest = min(map(len, drawn))
        if fewest < max(self.shots):
            raise RecordError(
                f"{self.examples} has {fewest} examples for an item, and {max(self.shots)} are to be shown"
            )
        for k in self.shots:
            yield (
                f"{self.task.name}.shots_{k}",
                [self.after(item, own[:k]) for item, own in zip(items, drawn, strict=True)],
            )

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        """Raises: RecordError: there are fewer examples than shots."""
        from components.evaluation.curves import draw_shots

        for name, items in self.sets(bench.work.seed):
            for subject, figures in self.task.compare(bench, items).items():
                metrics[subject].setdefault(self.task.name, {})[name.partition(".")[2]] = figures
        own = {name: metrics[name][self.task.name] for name in self.subjects(bench.fed)}
        measure = next(iter(self.task.measures))
        draw_shots(own, self.shots, measure, bench.work.path("plots") / f"{self.task.name}_shots.png")

    def drawn(self, items: "Sequence[Item]", pool: "Sequence[Item]", seed: int) -> "list[list[Item]]":
        """As many examples for each item as are shown at most."""
        most, texts = max(self.shots), [self.task.shown(each) for each in pool]
        alike, found = Counter(texts), []
        for place, item in enumerate(items):
            own = self.task.shown(item)
            wanted = min(len(pool), most + alike[own])  # so many are left without those that say what the item says
            sample = random.Random(f"{seed} {place}").sample(range(len(pool)), wanted)
            found.append([pool[number] for number in sample if texts[number] != own][:most])
        return found

    def after(self, item: "Item", examples: "Sequence[Item]") -> "Item":
        """An item behind some examples."""
        before = "".join(self.task.shown(each) + self.separator for each in examples)
        return replace(item, **{self.task.asked: before + getattr(item, self.task.asked)})


SECTION = FewShotTask
