"""How far the rounds of a journal are."""

from dataclasses import dataclass

from components.labeling.leases import MOST_SKIPS
from components.labeling.tables import Tables

# Gold tasks and repetitions have no end: everybody is asked. They do not count.
PROGRESS = f"""
SELECT round, count(*) AS tasks, sum(workers) AS wanted, sum(min(given, workers)) AS given,
    sum(CASE WHEN skips >= {MOST_SKIPS} THEN workers - min(given, workers) ELSE 0 END) AS skipped,
    EXISTS (SELECT 1 FROM closings WHERE closings.round = counted.round) AS closed
FROM (SELECT round, workers,
    (SELECT count(*) FROM standing_answers AS a WHERE a.task = tasks.id AND a.kind != 'skip' AND NOT a.again) AS given,
    (SELECT count(*) FROM standing_answers AS a WHERE a.task = tasks.id AND a.kind = 'skip') AS skips
    FROM tasks WHERE NOT gold) AS counted
GROUP BY round ORDER BY round
"""


@dataclass(frozen=True)
class Progress:
    """A round in numbers.

    Attributes:
        wanted: answers, several a task where several workers are asked.
        given: of these; a skip is none.
        skipped: that will not be given, since so many workers skipped the task.
    """

    round: int
    tasks: int
    wanted: int
    given: int
    skipped: int
    closed: bool

    @property
    def is_done(self) -> bool:
        """Whether nobody is to be waited for any more."""
        return self.closed or self.given + self.skipped >= self.wanted


def of_rounds(tables: Tables) -> list[Progress]:
    """Every round, the first one first."""
    return [Progress(**{**dict(row), "closed": bool(row["closed"])}) for row in tables.read(PROGRESS)]
