"""Prefect's and MLflow's pages and the chat on loopback, over what this repository made, until Ctrl-C.

python -m flows.ui [--prefect-port 4200] [--mlflow-port 5000] [--chat-port 8000]
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from components.loopback import spare_loopback
from components.store_location import StoreError, ready
from components.views import lineages_page
from flows.parent_run import tracked, tracking
from flows.server import ADDRESSES, HOST

START_SECONDS = 90
STOP_SECONDS = 10


class Page(NamedTuple):
    """A server: its port, the command that starts it, and what its environment adds."""

    port: int
    command: list[str]
    extra: Mapping[str, str]

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


def pages(prefect_port: int, mlflow_port: int, chat_port: int, root: Path) -> dict[str, Page]:
    """The servers of this repository by name."""
    store, _ = ready()
    python = [sys.executable, "-m"]
    return {
        "Prefect": Page(
            prefect_port,
            [*python, "prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)],
            # Without it the page would call port 4200 whatever --port says.
            {"PREFECT_SERVER_API_PORT": str(prefect_port), "PREFECT_HOME": str(root / ".prefect")},
        ),
        "MLflow": Page(
            mlflow_port,
            [*python, "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1",
             "--backend-store-uri", store, "--artifacts-destination", str(root / "mlruns" / "artifacts")],
            # The job runner would start a dozen processes that nothing here uses.
            {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
        "Chat": Page(
            chat_port,
            [*python, "components.web", "--host", HOST, "--port", str(chat_port),
             "--mlflow", f"http://{HOST}:{mlflow_port}", "--prefect", f"http://{HOST}:{prefect_port}"],
            {},
        ),
    }  # fmt: skip


def is_taken(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def wait_until_up(address: str, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the address answered before its server ended or the time ran out."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return process.poll() is None
        except OSError:
            time.sleep(0.3)
    return False


def main() -> None:
    """Start the servers, print their addresses, stop them on Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--chat-port", type=int, default=8000)
    arguments = parser.parse_args()
    spare_loopback()
    ports = arguments.prefect_port, arguments.mlflow_port, arguments.chat_port
    for option, port in zip(("--prefect-port", "--mlflow-port", "--chat-port"), ports, strict=True):
        if is_taken(port):
            name = option.removeprefix("--").upper().replace("-", "_")
            sys.exit(f"port {port} is taken: end what listens there, or name another by {option} (make ui {name}=...)")
    try:
        _serve(pages(*ports, Path.cwd()), Path.cwd())
    except StoreError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print()


def _serve(served: Mapping[str, Page], root: Path) -> None:
    """Start the servers, and note in Prefect's home where flows of this repository find them, while they run."""
    logs, note = root / ".lineage" / "logs", root / ".prefect" / ADDRESSES
    logs.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(_server(page, logs / f"{name.lower()}.log")) for name, page in served.items()
        }
        for name, page in served.items():
            if not wait_until_up(page.address, running[name]):
                sys.exit(f"{name} did not start; see {logs / f'{name.lower()}.log'}")
        print(f"Prefect  {served['Prefect'].address}", flush=True)
        print(f"MLflow   {_lineages(served['MLflow'].address)}", flush=True)
        print(f"Chat     {served['Chat'].address}  (and {served['Chat'].address}/v1 for OpenAI clients)", flush=True)
        note.parent.mkdir(exist_ok=True)
        stack.callback(note.unlink, missing_ok=True)
        note.write_text(json.dumps({name: page.address for name, page in served.items()}) + "\n")
        print("Ctrl-C stops them.", flush=True)
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.5)
        ended = ", ".join(name for name, process in running.items() if process.poll() is not None)
        sys.exit(f"the server of {ended} ended by itself; see {logs}")


def _lineages(address: str) -> str:
    """The page of all lineages on MLflow's server, or its first page where no store can be had."""
    connection = tracked("find the list of lineages", lambda: tracking().store.connect())
    return lineages_page(address, connection[1]) if connection else address


@contextlib.contextmanager
def _server(page: Page, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as out:
        process = subprocess.Popen(page.command, stdout=out, stderr=out, env={**os.environ, **page.extra})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
