"""What fine-tuning on demonstrations gained, by its own validation."""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import Fed, Task

if TYPE_CHECKING:
    from components.tasks.bench import Bench


@section
class FineTuningTask(Task):
    """The validation loss of a fine-tuned model, also as a share of the untuned model's, from its stage's figures."""

    kind: Literal["fine_tuning"]
    needs: ClassVar = ("figures",)
    leaves: ClassVar = ("validation_loss", "validation_loss_ratio", "trained_fraction")
    headlines: ClassVar = {"validation_loss_ratio": "validation loss as a share of the untuned model's"}

    def subjects(self, fed: Fed) -> list[str]:
        return list(fed["figures"])

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        for name, path in bench.work.read_all("figures").items():
            own = json.loads(path.read_text())
            metrics[name] |= {
                "validation_loss": own["validation"]["loss"],
                "validation_loss_ratio": own["validation"]["loss"] / own["untuned"]["validation/loss"],
                "trained_fraction": own["trained_fraction"],
            }


SECTION = FineTuningTask
