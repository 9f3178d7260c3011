"""What a reward model gains by picking among replies."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import REFEREES, Fed, Task

if TYPE_CHECKING:
    from components.tasks.bench import Bench

SUBJECT = "best_of_n"


@section
class BestOfNTask(Task):
    """Best-of-n among the held-out comparisons' replies: those of the SFT model, or those that people compared."""

    kind: Literal["best_of_n"]
    needs: ClassVar = ("reward", "validation", "test")
    leaves: ClassVar = ("[1-9].kl", *(f"[1-9].{name}_score" for name in (*REFEREES, "reward")))

    def subjects(self, fed: Fed) -> list[str]:
        return [SUBJECT] if fed["reward"] else []

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        from components.evaluation.best_of_n import best_of_n_curve

        metrics[SUBJECT] |= best_of_n_curve(bench.compared.scores["reward"], bench.compared.scores)


SECTION = BestOfNTask
