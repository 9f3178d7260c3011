"""Whether a reward model prefers the better of two replies."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Preference
    from components.evaluation.reward_scorer import RewardScorer
    from components.tasks.bench import Bench


@section
class RewardPairsTask(ItemTask):
    """Share of pairs of which the chosen reply scores higher (RewardBench, arXiv:2403.13787)."""

    kind: Literal["reward_pairs"]
    asks: ClassVar = "reward"
    needs: ClassVar = ("reward",)
    measures: ClassVar = {"accuracy": "pairs ordered rightly"}

    def items(self) -> "list[Preference]":
        from components.evaluation.items import Preference, read_items

        return read_items(self.path, Preference)

    def subject(self, bench: "Bench", name: str) -> Any:
        from components.checkpoints import load_scalar
        from components.evaluation.reward_scorer import RewardScorer

        model = load_scalar(bench.work.read_all("reward")[name]).to(bench.device)
        return RewardScorer(model, bench.tokenizer, bench.precision)

    def judge(self, subject: "RewardScorer", items: "list[Preference]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import shares

        scores = subject.scores([(item.messages, (item.chosen, item.rejected)) for item in items])
        return {"accuracy": shares([chosen > rejected for chosen, rejected in scores])}


SECTION = RewardPairsTask
