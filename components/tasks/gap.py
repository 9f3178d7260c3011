"""What belongs into a gap: Winograd's schemas, or a word left out (Radford et al. 2019, sections 3.2 and 3.4)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Gap
    from components.evaluation.text_scorer import TextScorer


@section
class GapTask(ItemTask):
    """Share of texts that are likeliest with the right one of the choices in their gap.

    Full: by the likelihood of the choice and what follows it; partial: of what follows it alone (Trinh and Le 2018,
    arXiv:1806.02847, section 3).
    """

    kind: Literal["gap"]
    measures: ClassVar = {
        "accuracy": "gaps filled by the likelihood of the choice and the rest",
        "accuracy_partial": "gaps filled by the likelihood of the rest",
    }

    def items(self) -> "list[Gap]":
        from components.evaluation.items import Gap, read_items

        return read_items(self.path, Gap)

    def judge(self, subject: "TextScorer", items: "list[Gap]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import shares

        filled = [(item, choice) for item in items for choice in item.choices]
        full = subject.likelihoods([(item.before, choice + item.after) for item, choice in filled])
        partial = subject.likelihoods([(item.before + choice, item.after) for item, choice in filled])
        hits: dict[str, list[bool]] = {}
        for name, found in (("accuracy", full), ("accuracy_partial", partial)):
            scores = iter(own.logprob for own in found)
            own = [[next(scores) for _ in item.choices] for item in items]
            hits[name] = [each.index(max(each)) == item.gold for each, item in zip(own, items, strict=True)]
        return {name: shares(own) for name, own in hits.items()}


SECTION = GapTask
