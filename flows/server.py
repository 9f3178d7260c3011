"""The Prefect server of a flow: the one of `make ui` where it serves this repository, otherwise one of its own.

A flow's own server ends with the flow, however that ends: it reads a pipe that the flow holds, and which the kernel
closes. It is in a session of its own, so that Ctrl-C, which reaches a whole process group, does not end it first.
"""

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    PREFECT_UI_URL,
    get_current_settings,
    temporary_settings,
)

HOST = "127.0.0.1"
DEFAULT_PORT = 4200
ADDRESSES = "ui.json"  # in Prefect's home: what `make ui` serves, by name
STOP_SECONDS = 5.0


class ServerError(RuntimeError):
    """There is no Prefect server to run on; the message says what can be done."""


def addresses(home: Path) -> dict[str, str]:
    """The pages of the `make ui` that was started last, by name; whether it still runs is not known."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((home / ADDRESSES).read_text()))
    return {}


def serves(address: str, home: Path) -> bool:
    """Whether a Prefect server answers at an address such as http://127.0.0.1:4200, and keeps its runs in this home."""
    try:
        with urllib.request.urlopen(f"{address}/api/admin/settings", timeout=2) as answer:
            return bool(Path(json.load(answer)["home"]) == home)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextlib.contextmanager
def prefect_server() -> Iterator[None]:
    """Have flows within run on PREFECT_API_URL, on `make ui`'s server of this repository, or on one of their own.

    Raises:
        ServerError: nothing answers at PREFECT_API_URL, or no server could be started.
    """
    # A heartbeat would cost every flow a second at its end; the next flow finds out who died (run).
    settings: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    given, home = PREFECT_API_URL.value(), get_current_settings().home.resolve()
    if given:
        must_answer(given)
        with temporary_settings(settings):
            yield
        return
    page = addresses(home).get("Prefect", f"http://{HOST}:{DEFAULT_PORT}")
    if serves(page, home):
        with temporary_settings({**settings, PREFECT_API_URL: f"{page}/api"}):
            yield
        return
    port, process = _start(home)
    atexit.register(stop, process)  # Prefect sends its last logs when the interpreter ends, before this is called
    # The server has no pages, so that none is pointed to.
    with temporary_settings({**settings, PREFECT_API_URL: f"http://{HOST}:{port}/api", PREFECT_UI_URL: ""}):
        yield


def must_answer(url: str, variable: str = "PREFECT_API_URL") -> None:
    """Ask whether a server that a variable of the environment names is there at all.

    Raises:
        ServerError: nothing answers.
    """
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10):
            return
    except urllib.error.HTTPError:
        return  # it answers; what it thinks of this flow is told by the library
    except (OSError, ValueError) as error:
        if "CERTIFICATE" in str(error):
            return  # which the library may be told to trust
        raise ServerError(
            f"no server answers at {variable}={url} ({getattr(error, 'reason', error)}): start it, or unset {variable}"
        ) from None


def _start(home: Path) -> tuple[int, "subprocess.Popen[bytes]"]:
    deadline = time.monotonic() + (PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value() or 90)
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    while True:
        port = free_port()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(port)], cwd=Path(__file__).parents[1],
                env={**os.environ, **_environment(home)}, stdin=subprocess.PIPE, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        if _came_up(f"http://{HOST}:{port}/api/health", process, deadline):
            return port, process
        stop(process)
        if time.monotonic() > deadline or b"address already in use" not in log.read_bytes():
            raise ServerError(f"Prefect's server did not start; see {log}")


def _environment(home: Path) -> Mapping[str, str]:
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",  # no schedules, nobody else's late runs
        "PREFECT__SERVER_FINAL": "1",
    }


def _came_up(address: str, process: "subprocess.Popen[bytes]", deadline: float) -> bool:
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server that was started here, within seconds."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve on the port that the command line names until standard input ends."""
    import uvicorn  # noqa: PLC0415 (it and Prefect's server are this process's alone)

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, host=HOST, port=int(sys.argv[1]), log_level="error"
    )
    server = uvicorn.Server(config)

    def end_with_flow() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        time.sleep(STOP_SECONDS - 1)
        os._exit(0)  # a connection is being waited for

    threading.Thread(target=end_with_flow, daemon=True).start()
    server.run()
    os._exit(0)


if __name__ == "__main__":
    main()
