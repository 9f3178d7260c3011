"""What tests see of flows: what a summary says, and what happens in its time."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from flows.server import free_port
from tests.flows.repository import Repository

Found = TypeVar("Found")
OUTCOMES = {"Completed", "Restored", "Cached", "Failed"}


def outcomes(output: str) -> dict[str, str]:
    """What the summary table says DVC did with each stage."""
    cells = [[cell.strip() for cell in line.split("│")] for line in output.splitlines() if line.startswith("│")]
    return {row[1]: row[2] for row in cells if row[2] in OUTCOMES}


def is_up(port: int) -> bool:
    """Whether the server of models and pages answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def wait_for(condition: Callable[[], Found], seconds: float = 120) -> Found:
    """What a condition comes to as soon as that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("timed out")


@contextmanager
def served(repository: Repository) -> Iterator[Repository]:
    """The repository, with a Prefect server for its flows."""
    server = repository.start_server(free_port())
    yield repository
    server.terminate()
    server.wait()
