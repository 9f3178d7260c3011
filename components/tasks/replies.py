"""How replies to held-out prompts read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import REFEREES, Fed, Task, compared

if TYPE_CHECKING:
    from components.tasks.bench import Bench


@section
class RepliesTask(Task):
    """Means over a model's replies: scores by every referee and by the reward model, length, ends, diversity."""

    kind: Literal["replies"]
    needs: ClassVar = ("prompts",)
    leaves: ClassVar = (
        *(f"{name}_score" for name in (*REFEREES, "reward")),
        "response_tokens",
        "ended_share",
        "distinct_2",
    )

    def subjects(self, fed: Fed) -> list[str]:
        return list(fed["models"])

    def known_by(self, fed: Fed) -> Iterator[tuple[str, str, str]]:
        yield from ((name, "ended_share", "replies that end by themselves") for name in compared(fed))

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        for name in bench.fed["models"]:
            metrics[name] |= bench.replies[name].figures()


SECTION = RepliesTask
