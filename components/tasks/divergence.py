"""How far a model has gone from the reference."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import Fed, Task, compared

if TYPE_CHECKING:
    from components.tasks.bench import Bench


@section
class DivergenceTask(Task):
    """KL to the reference in nats a reply, over the model's own replies."""

    kind: Literal["divergence"]
    needs: ClassVar = ("reference", "prompts")
    leaves: ClassVar = ("kl",)
    headlines: ClassVar = {"kl": "KL from {reference}, nats a reply"}

    def subjects(self, fed: Fed) -> list[str]:
        return compared(fed)

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        (reference,) = bench.fed["reference"]
        for name in compared(bench.fed):
            metrics[name]["kl"] = bench.divergence(name, reference)


SECTION = DivergenceTask
