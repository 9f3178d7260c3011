"""Who is asked what: a task is in one worker's hands at a time, and a worker holds one task.

Every function works within the caller's transaction. Times are seconds since the epoch.
"""

import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from components.data.digests import hash_fraction
from components.data.records import as_chat
from components.labeling.answers import Task, parse
from components.labeling.tables import JournalError

LEASE_SECONDS = 15 * 60.0
REPEAT_AFTER = 20  # answers of a worker between one to a task and its repetition
ENDED = 0.0  # until when a lease lasts that was answered or given back
MOST_SKIPS = 3  # workers who skip a task before it is not asked any more

FREE = """
NOT EXISTS (SELECT 1 FROM closings WHERE closings.round = tasks.round)
AND NOT EXISTS (
    SELECT 1 FROM leases WHERE leases.task = tasks.id AND leases.until > :now
    AND NOT EXISTS (SELECT 1 FROM leases AS newer WHERE newer.id = leases.id AND newer.seq > leases.seq))
"""
# Gold first: it says who can be asked. `workers` is how many are asked of any other task.
NEXT = f"""
SELECT id AS task, 0 AS again FROM tasks WHERE {FREE}
AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.task = tasks.id AND answers.worker = :worker)
AND (gold OR (SELECT count(*) FROM standing_answers AS a WHERE a.task = tasks.id AND a.kind != 'skip' AND NOT a.again)
     < workers)
AND (gold OR (SELECT count(*) FROM standing_answers AS a WHERE a.task = tasks.id AND a.kind = 'skip') < :most_skips)
ORDER BY gold DESC, seq LIMIT 1
"""
REPETITION = f"""
SELECT tasks.id AS task, 1 AS again FROM standing_answers AS own JOIN tasks ON tasks.id = own.task WHERE {FREE}
AND own.worker = :worker AND own.kind = 'ranking' AND NOT own.again AND tasks.again
AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.task = tasks.id AND answers.worker = :worker AND answers.again)
AND (SELECT count(*) FROM answers WHERE answers.worker = :worker AND answers.supersedes IS NULL
     AND answers.seq > own.seq) >= :repeat_after
ORDER BY own.seq LIMIT 1
"""
HELD = """
SELECT * FROM leases WHERE worker = :worker AND until > :now
AND NOT EXISTS (SELECT 1 FROM leases AS newer WHERE newer.id = leases.id AND newer.seq > leases.seq)
AND NOT EXISTS (SELECT 1 FROM tasks JOIN closings ON closings.round = tasks.round WHERE tasks.id = leases.task)
"""


class LeaseError(JournalError):
    """A lease is not the worker's, has ended, or its task has gone to somebody else."""


@dataclass(frozen=True)
class Lease:
    """A task in a worker's hands, theirs alone until `expires_at` (seconds since the epoch).

    `again`: they have answered it before; `supersedes`: the answer of theirs that the next one replaces.
    """

    id: str
    task: Task
    worker: str
    expires_at: float
    again: bool = False
    supersedes: str | None = None

    @property
    def shown_order(self) -> tuple[int, ...]:
        """The order in which the replies are shown."""
        return shown_order(self.task, self.worker, again=self.again)

    def page(self) -> dict[str, Any]:
        """All that a page may know: neither who wrote a reply, nor known ranks, nor that it was asked before."""
        return {
            "lease": self.id,
            "round": self.task.round,
            "kind": self.task.kind,
            "messages": as_chat(self.task.messages),
            "replies": [self.task.replies[place] for place in self.shown_order],
            "expires_at": self.expires_at,
            "undoes": self.supersedes,
        }


def shown_order(task: Task, worker: str, *, again: bool) -> tuple[int, ...]:
    """The order in which a worker sees a task's replies: drawn by a hash, anew when the task is asked again."""
    salt = "again" if again else "order"
    return tuple(sorted(range(len(task.replies)), key=lambda place: hash_fraction(f"{task.id}:{worker}:{place}", salt)))


def take(database: sqlite3.Connection, worker: str, now: float) -> Lease | None:
    """What a worker holds, renewed, or the next task for them; None where there is none."""
    row = held(database, worker, now)
    if row is not None:
        return extend(database, row, now)
    limits = {"most_skips": MOST_SKIPS, "repeat_after": REPEAT_AFTER, "worker": worker, "now": now}
    row = database.execute(REPETITION, limits).fetchone() or database.execute(NEXT, limits).fetchone()
    if row is None:
        return None
    return grant(database, row["task"], worker, now, again=row["again"])


def held(database: sqlite3.Connection, worker: str, now: float) -> sqlite3.Row | None:
    """The lease that a worker has now, if any; a task of a closed round is in nobody's hands."""
    row: sqlite3.Row | None = database.execute(HELD, {"worker": worker, "now": now}).fetchone()
    return row


def grant(
    database: sqlite3.Connection, task: str, worker: str, now: float, *, again: bool, supersedes: str | None = None
) -> Lease:
    """A new lease."""
    row = (secrets.token_hex(8), task, worker, int(again), supersedes, now + LEASE_SECONDS)
    return as_lease(database, _append(database, row))


def extend(database: sqlite3.Connection, row: sqlite3.Row, now: float) -> Lease:
    """A lease until `LEASE_SECONDS` from now."""
    return as_lease(database, _append(database, (*tuple(row)[1:-1], now + LEASE_SECONDS)))


def end(database: sqlite3.Connection, row: sqlite3.Row) -> None:
    """The lease has ended: it was answered, or given back."""
    _append(database, (*tuple(row)[1:-1], ENDED))


def usable(database: sqlite3.Connection, worker: str, lease: str, now: float) -> sqlite3.Row:
    """The newest row of a worker's lease. One that has run out counts if nobody has taken its task since.

    Raises:
        LeaseError: it is not theirs, was given back, its task has gone to somebody else, or the round is closed.
    """
    rows = database.execute("SELECT * FROM leases WHERE id = ? ORDER BY seq", (lease,)).fetchall()
    if not rows or rows[0]["worker"] != worker:
        raise LeaseError(f"{worker} has no lease {lease!r}")
    newest: sqlite3.Row = rows[-1]
    if newest["until"] == ENDED:
        raise LeaseError("this task was answered or given back")
    later = database.execute("SELECT 1 FROM leases WHERE task = ? AND seq > ? AND id != ?",
                             (newest["task"], rows[0]["seq"], lease))  # fmt: skip
    other = held(database, worker, now)
    if later.fetchone() or (other is not None and other["id"] != lease):
        raise LeaseError("this task has gone on: its time was up")
    closed = database.execute(
        "SELECT tasks.round FROM tasks JOIN closings ON closings.round = tasks.round WHERE tasks.id = ?",
        (newest["task"],),
    ).fetchone()
    if closed:
        raise LeaseError(f"round {closed['round']} is closed")
    return newest


def as_lease(database: sqlite3.Connection, row: sqlite3.Row) -> Lease:
    """A row with its task."""
    (record,) = database.execute("SELECT record FROM tasks WHERE id = ?", (row["task"],)).fetchone()
    task = parse(record, Task)
    return Lease(row["id"], task, row["worker"], row["until"], bool(row["again"]), row["supersedes"])


def _append(database: sqlite3.Connection, row: tuple[object, ...]) -> sqlite3.Row:
    done = database.execute(
        "INSERT INTO leases (id, task, worker, again, supersedes, until) VALUES (?, ?, ?, ?, ?, ?)", row
    )
    found: sqlite3.Row = database.execute("SELECT * FROM leases WHERE seq = ?", (done.lastrowid,)).fetchone()
    return found
