"""How well a reward model orders held-out comparisons."""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import Fed, Task

if TYPE_CHECKING:
    from components.tasks.bench import Bench


@section
class PairAccuracyTask(Task):
    """Accuracy on held-out pairs, beside the ceiling that a simulated labeler's noise allows, and calibration."""

    kind: Literal["pair_accuracy"]
    needs: ClassVar = ("reward", "validation", "test")
    leaves: ClassVar = (
        *("pair_accuracy", "pair_accuracy_low", "pair_accuracy_high", "pairs", "conversations", "calibration_error"),
        *("pair_accuracy_by_rank_gap.*", "pair_accuracy_by_length.*", "label_ceiling", "share_of_ceiling"),
    )
    headlines: ClassVar = {
        "pair_accuracy": "held-out pair accuracy",
        "share_of_ceiling": "pair accuracy as a share of its ceiling",
    }

    def subjects(self, fed: Fed) -> list[str]:
        return list(fed["reward"])

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        from components.data.comparisons import distinct_places
        from components.evaluation.preferences import pair_figures, pair_table
        from components.labeling.simulated import LabelerModel, pair_differences

        (name,) = bench.fed["reward"]
        found = bench.compared
        kept = [distinct_places(row) for row in found.rows]
        table = pair_table(
            [scores[places] for scores, places in zip(found.scores["reward"], kept, strict=True)],
            [[row.ranks[i] for i in places] for row, places in zip(found.rows, kept, strict=True)],
            [[row.words[i] for i in places] for row, places in zip(found.rows, kept, strict=True)],
            [row.group for row in found.rows],
        )
        metrics[name] |= pair_figures(table, seed=bench.work.seed)[0]
        if "gold" in found.scores:
            (path,) = bench.work.read_all("labeler").values()
            labeler = json.loads(path.read_text())
            del labeler["kind"]
            ceiling = LabelerModel(**labeler).ceiling(pair_differences(found.scores["gold"]))
            share = metrics[name]["pair_accuracy"] / ceiling
            metrics[name] |= {"label_ceiling": ceiling, "share_of_ceiling": share}


SECTION = PairAccuracyTask
