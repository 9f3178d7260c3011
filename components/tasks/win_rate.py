"""Who wins against the reference."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import REFEREES, Fed, Task, compared

if TYPE_CHECKING:
    from components.tasks.bench import Bench


@section
class WinRateTask(Task):
    """Share of held-out prompts whose reply a referee prefers to the reference's, with its 95 % interval."""

    kind: Literal["win_rate"]
    needs: ClassVar = ("reference", "prompts")
    leaves: ClassVar = tuple(f"{name}_win_rate{bound}" for name in REFEREES for bound in ("", "_low", "_high"))
    headlines: ClassVar = {
        f"{name}_win_rate": f"wins over {{reference}} by {words}" for name, words in REFEREES.items()
    }

    def subjects(self, fed: Fed) -> list[str]:
        return compared(fed)

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        from components.evaluation.replies import win_rate

        (reference,) = bench.fed["reference"]
        groups = [prompt.group for prompt in bench.prompts]
        for name in compared(bench.fed):
            for referee in bench.court.referees:
                own, other = (bench.replies[model].scores[referee] for model in (name, reference))
                interval = win_rate(own, other, groups, seed=bench.work.seed)
                for suffix, value in (("", interval.mean), ("_low", interval.low), ("_high", interval.high)):
                    metrics[name][f"{referee}_win_rate{suffix}"] = value


SECTION = WinRateTask
