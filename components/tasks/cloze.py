"""Whether a model would go on as a text does."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Cloze
    from components.evaluation.text_scorer import TextScorer


@section
class ClozeTask(ItemTask):
    """Share of texts whose completion is the likeliest token at each place (LAMBADA, arXiv:1606.06031), and the
    perplexity of a whole completion: exp of its mean negative log-likelihood, as the harness counts it.
    """

    kind: Literal["cloze"]
    measures: ClassVar = {
        "accuracy": "completions that the model would write",
        "perplexity": "perplexity of a completion",
    }

    asked: ClassVar = "context"

    def shown(self, item: "Cloze") -> str:
        return item.context + item.completion

    def items(self) -> "list[Cloze]":
        from components.evaluation.items import Cloze, read_items

        return read_items(self.path, Cloze)

    def judge(self, subject: "TextScorer", items: "list[Cloze]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import Measured, shares

        found = subject.likelihoods([(item.context, item.completion) for item in items])
        nats = Measured([-own.logprob for own in found], [1.0] * len(found), "perplexity")
        return {"accuracy": shares([own.greedy for own in found]), "perplexity": nats}


SECTION = ClozeTask
