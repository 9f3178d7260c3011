"""The journal of labelling: who was asked what, and what they answered. Rows are only ever added.

    python -m components.labeling.journal status                # what is asked, given and open
    python -m components.labeling.journal export [FOLDER]       # labels/, the same bytes for the same journal
    python -m components.labeling.journal import [FOLDER]       # what of it the journal does not have yet
    python -m components.labeling.journal close ROUND           # ask nothing more of a round

It cannot be made again: `make clean` leaves it. docs/labelling.md has its interface.
"""

import argparse
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeVar

from components.data.records import Message, RecordError
from components.labeling import entries, leases, snapshot
from components.labeling.answers import Answer, Feedback, Given, Outcome, Source, Task, Vote, parse
from components.labeling.entries import ConsentError
from components.labeling.leases import Lease, LeaseError
from components.labeling.progress import Progress, of_rounds
from components.labeling.tables import JournalError, Tables

__all__ = ["ConsentError", "Journal", "JournalError", "Lease", "LeaseError", "Progress"]

PATH, LABELS = Path("labels.sqlite"), Path("labels")
Record = TypeVar("Record", Answer, Feedback, Vote)


class Journal:
    """The journal of a file; threads and processes may use it at the same time.

    What a method changes is on the disk when it returns; one that raises has changed nothing. Workers are pseudonyms
    of lower-case letters, digits and dashes: who is behind one is not the journal's to know.
    """

    def __init__(self, path: Path = PATH, *, clock: Callable[[], float] = time.time) -> None:
        """Open or make it; `clock` gives seconds since the epoch.

        Raises:
            JournalError: the file is no journal.
        """
        self._tables, self._clock = Tables(path), clock

    def close(self) -> None:
        """Let go of the file."""
        self._tables.close()

    def add(self, tasks: Iterable[Task]) -> int:
        """Ask; how many of the tasks are new.

        Raises:
            JournalError: another task has the same id, or its round is closed.
        """
        with self._tables.transaction() as database:
            return sum(entries.add_task(database, task) for task in tasks)

    def close_round(self, round: int) -> None:
        """Ask nothing more of a round and accept no answer to it; withdrawing stays possible."""
        with self._tables.transaction() as database:
            database.execute("INSERT OR IGNORE INTO closings (round, at) VALUES (?, ?)", (round, self._clock()))

    def consent(self, worker: str, wording: str) -> None:
        """Note that a worker has agreed to have texts stored; `wording` is what they agreed to, or its version."""
        with self._tables.transaction() as database:
            row = (worker, wording, self._clock())
            database.execute("INSERT INTO consents (worker, wording, at) VALUES (?, ?, ?)", row)

    def has_consented(self, worker: str) -> bool:
        """Whether texts of a worker may be stored."""
        return bool(self._tables.read("SELECT 1 FROM consents WHERE worker = ?", worker))

    def take(self, worker: str) -> Lease | None:
        """The task that a worker holds, renewed, or the next one for them; None where there is nothing to do."""
        with self._tables.transaction() as database:
            return leases.take(database, worker, self._clock())

    def renew(self, worker: str, lease: str) -> Lease:
        """A lease for another `LEASE_SECONDS`. One that has run out comes back if nobody has taken its task.

        Raises:
            LeaseError: it is gone.
        """
        with self._tables.transaction() as database:
            now = self._clock()
            return leases.extend(database, leases.usable(database, worker, lease, now), now)

    def give_back(self, worker: str, lease: str) -> None:
        """Let go of a task without an answer; it may be asked of anybody again.

        Raises:
            LeaseError: it is gone.
        """
        with self._tables.transaction() as database:
            leases.end(database, leases.usable(database, worker, lease, self._clock()))

    def answer(self, worker: str, lease: str, given: Given) -> Answer:
        """Accept an answer, which ends the lease. The same answer sent twice is accepted once.

        Raises:
            LeaseError: the lease is gone, or has another answer.
            ConsentError: it holds text, and the worker has not agreed.
            JournalError: it does not fit the task; names the field.
        """
        with self._tables.transaction() as database:
            now = self._clock()
            if before := entries.answered(database, lease):
                return entries.sent_twice(database, before, worker, given)
            row = leases.usable(database, worker, lease, now)
            if given.text or given.reason:
                entries.ask_consent(database, worker)
            answer = entries.in_task_order(given, leases.as_lease(database, row), secrets.token_hex(8), now)
            entries.add_answer(database, answer)
            leases.end(database, row)
            return answer

    def reopen(self, worker: str, answer: str) -> Lease:
        """Undo: an answer's task again in the hands of its worker, whose next answer supersedes it.

        What they hold meanwhile is given back. Until there is another answer the earlier one counts.

        Raises:
            JournalError: it is not theirs, does not count any more, somebody has its task, or its round is closed.
        """
        with self._tables.transaction() as database:
            now = self._clock()
            row = entries.own(database, worker, answer, "answers")
            holding = leases.held(database, worker, now)
            if holding is not None:
                leases.end(database, holding)
            free = database.execute(f"SELECT 1 FROM tasks WHERE id = :task AND {leases.FREE}",
                                    {"task": row["task"], "now": now})  # fmt: skip
            if not free.fetchone():
                raise JournalError("its task is in somebody's hands, or its round is closed")
            return leases.grant(database, row["task"], worker, now, again=row["again"], supersedes=answer)

    def withdraw(self, worker: str, record: str) -> None:
        """Take an answer, a thumb or a vote of one's own back, by its id: exports leave it out from now on.

        Raises:
            JournalError: it is not theirs, or does not count any more.
        """
        with self._tables.transaction() as database:
            entries.own(database, worker, record, entries.table_of(database, record))
            row = (record, worker, self._clock())
            database.execute("INSERT INTO withdrawals (record, worker, at) VALUES (?, ?, ?)", row)

    def thumb(
        self,
        worker: str,
        *,
        conversation: str,
        messages: tuple[Message, ...],
        reply: str,
        source: Source,
        value: Literal[1, -1],
        tags: tuple[str, ...] = (),
        correction: str | None = None,
    ) -> Feedback:
        """Accept a thumb on a reply to messages; the same worker's next one on the same reply supersedes it.

        Raises:
            ConsentError: the worker has not agreed that their conversation is stored.
            JournalError: it breaks its schema; names the field.
        """
        with self._tables.transaction() as database:
            entries.ask_consent(database, worker)
            about = entries.about(worker, conversation, messages, reply)
            before = database.execute("SELECT id FROM standing_feedback WHERE about = ?", (about,)).fetchone()
            (newest,) = database.execute("SELECT coalesce(max(round), 0) FROM tasks").fetchone()
            feedback = entries.checked(
                Feedback, id=secrets.token_hex(8), round=newest, conversation=conversation, messages=messages,
                reply=reply, source=source, value=value, tags=tags, correction=correction, worker=worker,
                answered_at=round(self._clock(), 3), supersedes=before["id"] if before else None,
            )  # fmt: skip
            entries.add_feedback(database, feedback)
            return feedback

    def vote(
        self,
        worker: str,
        *,
        messages: tuple[Message, ...],
        replies: tuple[str, str],
        sources: tuple[Source, Source],
        outcome: Outcome,
        seconds: float,
    ) -> Vote:
        """Accept a vote on two replies to messages.

        Raises:
            ConsentError: the worker has not agreed that their conversation is stored.
            JournalError: it breaks its schema; names the field.
        """
        with self._tables.transaction() as database:
            entries.ask_consent(database, worker)
            vote = entries.checked(
                Vote, id=secrets.token_hex(8), worker=worker, messages=messages, replies=replies, sources=sources,
                outcome=outcome, seconds=seconds, answered_at=round(self._clock(), 3),
            )  # fmt: skip
            entries.add_vote(database, vote)
            return vote

    def tasks(self) -> list[Task]:
        """Every task, in the order of asking."""
        return [parse(row["record"], Task) for row in self._tables.read("SELECT record FROM tasks ORDER BY seq")]

    def task(self, id: str) -> Task:
        """A task by its id.

        Raises:
            JournalError: there is none.
        """
        for row in self._tables.read("SELECT record FROM tasks WHERE id = ?", id):
            return parse(row["record"], Task)
        raise JournalError(f"there is no task {id!r}")

    def answers(self, worker: str | None = None) -> list[Answer]:
        """The answers that count, of one worker or of all, in the order of coming."""
        return self._standing(Answer, "answers", worker)

    def feedback(self, worker: str | None = None) -> list[Feedback]:
        """The thumbs that count, of one worker or of all, in the order of coming."""
        return self._standing(Feedback, "feedback", worker)

    def votes(self) -> list[Vote]:
        """The votes that count, by the time at which they were given: Elo's ratings depend on it."""
        return sorted(self._standing(Vote, "votes", None), key=lambda each: (each.answered_at, each.id))

    def _standing(self, schema: type[Record], table: str, worker: str | None) -> list[Record]:
        query = f"SELECT record FROM standing_{table} WHERE ? IS NULL OR worker = ? ORDER BY seq"
        return [parse(row["record"], schema) for row in self._tables.read(query, worker, worker)]

    def progress(self) -> list[Progress]:
        """Every round, the first one first."""
        return of_rounds(self._tables)

    def take_in(
        self,
        tasks: Iterable[Task],
        answers: Iterable[Answer],
        feedback: Iterable[Feedback],
        votes: Iterable[Vote] = (),
    ) -> int:
        """Add records of another journal's export, all or none; how many are new.

        Raises:
            JournalError: the journal has another record of the same id, or answers have no task.
        """
        with self._tables.transaction() as database:
            new = sum(entries.add_task(database, task) for task in tasks)
            new += sum(entries.add_answer(database, answer) for answer in answers)
            new += sum(entries.add_feedback(database, each) for each in feedback)
            return new + sum(entries.add_vote(database, vote) for vote in votes)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, default=PATH, metavar="FILE", help=f"the journal's file ({PATH})")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="rounds, and what each worker has given")
    for name in ("export", "import"):
        commands.add_parser(name).add_argument("folder", type=Path, nargs="?", default=LABELS, help=f"({LABELS})")
    commands.add_parser("close").add_argument("round", type=int)
    arguments = parser.parse_args()
    if arguments.command != "import" and not arguments.journal.exists():
        sys.exit(f"there is no journal at {arguments.journal}: python -m components.labeling.ask makes it")
    try:
        journal = Journal(arguments.journal)
        _run(journal, arguments)
        journal.close()
    except (JournalError, RecordError, OSError) as error:
        sys.exit(f"labelling: {error}")


def _run(journal: Journal, arguments: argparse.Namespace) -> None:
    if arguments.command == "export":
        print(f"{snapshot.export(journal, arguments.folder)} records in {arguments.folder}/")
    elif arguments.command == "import":
        print(f"{snapshot.take_in(journal, arguments.folder)} new records of {arguments.folder}/")
    elif arguments.command == "close":
        journal.close_round(arguments.round)
    else:
        for each in journal.progress():
            state = "closed" if each.closed else "done" if each.is_done else "open"
            print(f"round {each.round}: {each.given} of {each.wanted} answers, {each.skipped} skipped, {state}")
        for worker, count in sorted(Counter(answer.worker for answer in journal.answers()).items()):
            print(f"{worker}: {count} answers")


if __name__ == "__main__":
    main()
