"""Whether a model finds a right sentence likelier than a wrong one."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import MinimalPair
    from components.evaluation.text_scorer import TextScorer


@section
class MinimalPairsTask(ItemTask):
    """Share of pairs whose right sentence has the greater summed log-likelihood (BLiMP, arXiv:1912.00582)."""

    kind: Literal["minimal_pairs"]
    delimiter: str = " "  # before each sentence, as the harness has it
    measures: ClassVar = {"accuracy": "minimal pairs told apart"}

    def items(self) -> "list[MinimalPair]":
        from components.evaluation.items import MinimalPair, read_items

        return read_items(self.path, MinimalPair)

    def judge(self, subject: "TextScorer", items: "list[MinimalPair]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import shares

        good, bad = (
            subject.likelihoods([("", self.delimiter + sentence) for sentence in sentences])
            for sentences in ([i.sentence_good for i in items], [i.sentence_bad for i in items])
        )
        # Of equals the first counts, as in a multiple choice.
        return {"accuracy": shares([a.logprob >= b.logprob for a, b in zip(good, bad, strict=True)])}


SECTION = MinimalPairsTask
