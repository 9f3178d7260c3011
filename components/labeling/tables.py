"""The journal's file: an SQLite database in WAL mode to which rows are only ever added.

A row that is to count no more gets another one that says so: a newer row of a lease, an answer that supersedes one, a
withdrawal. Triggers refuse every update and deletion.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = 1  # of the tables below
BUSY_SECONDS = 10.0  # how long a writer waits for another process
TABLES = {
    "tasks": "id TEXT NOT NULL UNIQUE, round INTEGER NOT NULL, workers INTEGER NOT NULL, again INTEGER NOT NULL, "
    "gold INTEGER NOT NULL, record TEXT NOT NULL",
    "closings": "round INTEGER NOT NULL UNIQUE, at REAL NOT NULL",
    # A lease's newest row counts: `until` moves on when it is renewed, and is 0 once it has ended.
    "leases": "id TEXT NOT NULL, task TEXT NOT NULL, worker TEXT NOT NULL, again INTEGER NOT NULL, supersedes TEXT, "
    "until REAL NOT NULL",
    "answers": "id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, round INTEGER NOT NULL, worker TEXT NOT NULL, "
    "kind TEXT NOT NULL, again INTEGER NOT NULL, lease TEXT NOT NULL UNIQUE, supersedes TEXT UNIQUE, "
    "record TEXT NOT NULL",
    "feedback": "id TEXT NOT NULL UNIQUE, round INTEGER NOT NULL, worker TEXT NOT NULL, about TEXT NOT NULL, "
    "supersedes TEXT UNIQUE, record TEXT NOT NULL",
    "votes": "id TEXT NOT NULL UNIQUE, worker TEXT NOT NULL, record TEXT NOT NULL, supersedes TEXT UNIQUE",
    "withdrawals": "record TEXT NOT NULL UNIQUE, worker TEXT NOT NULL, at REAL NOT NULL",
    "consents": "worker TEXT NOT NULL, wording TEXT NOT NULL, at REAL NOT NULL",
}
INDEXES = ("leases(id)", "leases(task)", "leases(until)", "answers(task)", "answers(worker)", "feedback(about)")
# What counts: neither replaced nor withdrawn, nor replaced by what was withdrawn.
STANDING = """
CREATE VIEW standing_{table} AS SELECT * FROM {table} AS one
WHERE NOT EXISTS (SELECT 1 FROM {table} AS newer WHERE newer.supersedes = one.id)
  AND NOT EXISTS (SELECT 1 FROM withdrawals WHERE withdrawals.record = one.id)
"""


class JournalError(ValueError):
    """What was asked of a journal cannot be done; the message says why."""


class Tables:
    """A connection that threads share; one transaction at a time, other processes wait their turn."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            JournalError: it is no journal, or one of another version.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            # What was accepted is on the disk, whatever ends the process or the machine.
            self._database.execute("PRAGMA synchronous = FULL")
            with self.transaction() as database:
                self._prepare(database, path)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise JournalError(f"{path} is no journal: {error}") from None

    def _prepare(self, database: sqlite3.Connection, path: Path) -> None:
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found == VERSION:
            return
        if found or database.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise JournalError(f"{path} is a journal of version {found}, or none; this code reads version {VERSION}")
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} (seq INTEGER PRIMARY KEY, {columns})")
            for change in ("UPDATE", "DELETE"):
                database.execute(
                    f"CREATE TRIGGER no_{change}_{table} BEFORE {change} ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'the journal is only added to'); END"
                )
        for index in INDEXES:
            database.execute(f"CREATE INDEX index_{index.replace('(', '_').rstrip(')')} ON {index}")
        for table in ("answers", "feedback", "votes"):
            database.execute(STANDING.format(table=table))
        database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; nobody writes in between."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def read(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query, as they are at one moment."""
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
