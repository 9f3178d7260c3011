"""Where MLflow's store lies: below the repository, wherever that is now.

MLflow writes absolute locations into its database. A repository that was moved or copied takes its database along, so
the locations in it are rewritten to the place where the database lies before anything is read or written.
"""

import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.lineage import home

logger = logging.getLogger(__name__)

SQLITE = "sqlite:///"
STORE, ARTIFACTS = "mlruns", "artifacts"
# Every column of MLflow's that holds an absolute location.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


class StoreError(RuntimeError):
    """The store cannot be where it should; the message says what can be done."""


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the store below the repository's root.

    A relative database path counts from the root: stages of a variant run elsewhere.

    Raises:
        StoreError: MLflow cannot keep a database at this path.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return _address(home() / STORE / "mlflow.db")
    path = database_of(given)
    return given if path is None or path.is_absolute() else _address(home() / path)


def ready() -> tuple[str, Path | None]:
    """The store's address, and its database where it is a file; that database made ready (see `prepare`).

    Raises:
        StoreError: MLflow cannot keep a database at this path.
    """
    uri = tracking_uri()
    database = database_of(uri)
    if database is not None:
        prepare(database)
    return uri, database


def database_of(uri: str) -> Path | None:
    """The file of an SQLite address, or None for a server or another kind of database."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None


def prepare(database: Path) -> None:
    """Make the store's folder and database where they are missing; have its locations be where it lies."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # readers (the UI) do not block the writer
        _follow(connection, artifacts_of(database))
    connection.close()


def artifacts_of(database: Path) -> str:
    """The address of the folder where a database's artifacts lie."""
    return (database.parent.resolve() / ARTIFACTS).as_uri()


def _address(path: Path) -> str:
    text = str(path)
    if "'" in text or "?" in text or unquote(text) != text:  # MLflow reads the address in three ways that differ here
        raise StoreError(
            f"MLflow cannot keep its database in {path.parent}: rename the folder that has ', ? or a % code in its name"
        )
    return SQLITE + text


def _follow(connection: sqlite3.Connection, here: str) -> None:
    """Rewrite the locations of a store that was moved or copied, all of them or none."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
        return
    found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    moved = [old for (old,) in found if old and old != here and _is_a_store(old)]
    for old in moved:
        for table, column in LOCATIONS:
            changed = connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (here, len(old) + 1, old, len(old) + 1, old + "/"),
            )
            logger.debug("%d rows of %s.%s", changed.rowcount, table, column)
        logger.info("the repository was moved or copied: MLflow's locations now follow it from %s to %s", old, here)


def _is_a_store(location: str) -> bool:
    """Whether a location is one that this project chose, in some repository, and not a user's bucket or folder."""
    parts = urlsplit(location)
    return parts.scheme in {"", "file"} and Path(unquote(parts.path)).parts[-2:] == (STORE, ARTIFACTS)
