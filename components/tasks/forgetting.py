"""What alignment costs on plain text."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import Fed, Task, compared
from components.tasks.text import BATCH

if TYPE_CHECKING:
    from components.tasks.bench import Bench


@section
class ForgettingTask(Task):
    """The loss on plain text as an increase over the reference's: the alignment tax (arXiv:2203.02155, section 4.2)."""

    kind: Literal["forgetting"]
    needs: ClassVar = ("reference", "tokens")
    leaves: ClassVar = ("pretrain_loss_increase",)
    headlines: ClassVar = {"pretrain_loss_increase": "loss on plain text beside that of {reference}"}

    def subjects(self, fed: Fed) -> list[str]:
        return compared(fed)

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        (reference,) = bench.fed["reference"]
        for name in compared(bench.fed):
            increase = bench.text_loss(name, BATCH)[0] / bench.text_loss(reference, BATCH)[0] - 1
            metrics[name]["pretrain_loss_increase"] = increase


SECTION = ForgettingTask
