"""Writing records into the journal, within the caller's transaction."""

import hashlib
import sqlite3
from typing import Any, TypeVar

from pydantic import ValidationError

from components.data.records import Message, reason
from components.labeling import leases
from components.labeling.answers import Answer, Feedback, Given, Task, Vote, as_line, parse
from components.labeling.leases import Lease, LeaseError
from components.labeling.tables import JournalError

Record = TypeVar("Record")


class ConsentError(JournalError):
    """A text would be stored of a worker who has not agreed to that."""


def _is_known(database: sqlite3.Connection, table: str, record: Task | Answer | Feedback | Vote) -> bool:
    """Whether the journal has a record.

    Raises:
        JournalError: it has another one of the same id.
    """
    found = database.execute(f"SELECT record FROM {table} WHERE id = ?", (record.id,)).fetchone()
    if found is not None and found["record"] != as_line(record):
        raise JournalError(f"{table}: the journal has another {record.id!r}")
    return found is not None


def add_task(database: sqlite3.Connection, task: Task) -> bool:
    """Write a task; whether it is new.

    Raises:
        JournalError: another one has its id, or its round is closed.
    """
    if _is_known(database, "tasks", task):
        return False
    if database.execute("SELECT 1 FROM closings WHERE round = ?", (task.round,)).fetchone():
        raise JournalError(f"round {task.round} is closed")
    row = (task.id, task.round, task.workers, int(task.again), int(bool(task.gold)), as_line(task))
    database.execute("INSERT INTO tasks (id, round, workers, again, gold, record) VALUES (?, ?, ?, ?, ?, ?)", row)
    return True


def add_answer(database: sqlite3.Connection, answer: Answer) -> bool:
    """Write an answer; whether it is new.

    Raises:
        JournalError: another one has its id, or it does not fit its task.
    """
    if _is_known(database, "answers", answer):
        return False
    task = database.execute("SELECT record FROM tasks WHERE id = ?", (answer.task,)).fetchone()
    if task is None:
        raise JournalError(f"answers: {answer.id!r} answers a task that is not there, {answer.task!r}")
    try:
        answer.check(parse(task["record"], Task))
    except ValueError as error:
        raise JournalError(str(error)) from None
    row = (answer.id, answer.task, answer.round, answer.worker, answer.kind, int(answer.repeat), answer.lease,
           answer.supersedes, as_line(answer))  # fmt: skip
    columns = "id, task, round, worker, kind, again, lease, supersedes, record"
    database.execute(f"INSERT INTO answers ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return True


def add_feedback(database: sqlite3.Connection, feedback: Feedback) -> bool:
    """Write a thumb; whether it is new.

    Raises:
        JournalError: another one has its id.
    """
    if _is_known(database, "feedback", feedback):
        return False
    subject = about(feedback.worker, feedback.conversation, feedback.messages, feedback.reply)
    row = (feedback.id, feedback.round, feedback.worker, subject, feedback.supersedes, as_line(feedback))
    columns = "id, round, worker, about, supersedes, record"
    database.execute(f"INSERT INTO feedback ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
    return True


def add_vote(database: sqlite3.Connection, vote: Vote) -> bool:
    """Write a vote; whether it is new.

    Raises:
        JournalError: another one has its id.
    """
    if _is_known(database, "votes", vote):
        return False
    row = (vote.id, vote.worker, as_line(vote))
    database.execute("INSERT INTO votes (id, worker, record) VALUES (?, ?, ?)", row)
    return True


def about(worker: str, conversation: str, messages: tuple[Message, ...], reply: str) -> str:
    """What tells a worker's thumbs on one reply from those on another."""
    words = [worker, conversation, *(text for turn in messages for text in (turn.role, turn.content)), reply]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def ask_consent(database: sqlite3.Connection, worker: str) -> None:
    """Raises: ConsentError: the worker has not agreed that texts are stored."""
    if not database.execute("SELECT 1 FROM consents WHERE worker = ?", (worker,)).fetchone():
        raise ConsentError(f"{worker} has not agreed that texts are stored")


def own(database: sqlite3.Connection, worker: str, record: str, table: str) -> sqlite3.Row:
    """A worker's own answer, thumb or vote.

    Raises:
        JournalError: it is not theirs, or does not count any more.
    """
    found: sqlite3.Row | None = database.execute(
        f"SELECT * FROM standing_{table} WHERE id = ? AND worker = ?", (record, worker)
    ).fetchone()
    if found is None:
        raise JournalError(f"{worker} has nothing that counts under {record!r}")
    return found


def table_of(database: sqlite3.Connection, record: str) -> str:
    """Where a record is kept that can be taken back; that of answers where it is nowhere."""
    for table in ("feedback", "votes"):
        if database.execute(f"SELECT 1 FROM {table} WHERE id = ?", (record,)).fetchone():
            return table
    return "answers"


def answered(database: sqlite3.Connection, lease: str) -> Answer | None:
    """The answer that ended a lease."""
    found = database.execute("SELECT record FROM answers WHERE lease = ?", (lease,)).fetchone()
    return parse(found["record"], Answer) if found else None


def sent_twice(database: sqlite3.Connection, before: Answer, worker: str, given: Given) -> Answer:
    """The answer that a lease has, if it is what is given once more.

    Raises:
        LeaseError: it is another one.
    """
    row = database.execute("SELECT * FROM leases WHERE id = ? ORDER BY seq DESC", (before.lease,)).fetchone()
    if before.worker == worker and row is not None:
        same = in_task_order(given, leases.as_lease(database, row), before.id, before.answered_at)
        if same == before:
            return before
    raise LeaseError("this task was answered; undo that first")


def in_task_order(given: Given, lease: Lease, id: str, now: float) -> Answer:
    """The record of an answer that was given in the order in which replies were shown; `now` in seconds.

    Raises:
        JournalError: it does not fit; names the field.
    """
    order = lease.shown_order
    found: dict[str, Any] = {}
    for name in ("ranks", "quality", "flags"):
        values = getattr(given, name)
        if values and len(values) != len(order):
            raise JournalError(f"{name}: {len(values)} for {len(order)} replies")
        found[name] = tuple(values[order.index(place)] for place in range(len(order))) if values else ()
    return checked(
        Answer, **found, id=id, task=lease.task.id, round=lease.task.round, worker=lease.worker, kind=given.kind,
        shown_order=order, all_bad=given.all_bad, text=given.text, reason=given.reason, seconds=given.seconds,
        repeat=lease.again, lease=lease.id, answered_at=round(now, 3), supersedes=lease.supersedes,
        page_version=given.page_version,
    )  # fmt: skip


def checked(schema: type[Record], **values: Any) -> Record:
    """A record of values.

    Raises:
        JournalError: it breaks its schema; names the field.
    """
    try:
        return schema(**values)
    except ValidationError as error:
        raise JournalError(reason(error)) from None
