"""Prefect's and MLflow's pages on loopback, over the runs of this repository, until Ctrl-C.

python -m flows.ui [--prefect-port 4200] [--mlflow-port 5000]
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from components.store_location import StoreError, ready

HOST = "127.0.0.1"
START_SECONDS = 90


def servers(prefect_port: int, mlflow_port: int, root: Path) -> dict[str, tuple[str, list[str], dict[str, str]]]:
    """For each page: its address, the command that serves it, and what its environment adds."""
    store, _ = ready()
    python = [sys.executable, "-m"]
    return {
        "Prefect": (
            f"http://{HOST}:{prefect_port}",
            [*python, "prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)],
            # Without it the page would call port 4200 whatever --port says.
            {"PREFECT_SERVER_API_PORT": str(prefect_port), "PREFECT_HOME": str(root / ".prefect")},
        ),
        "MLflow": (
            f"http://{HOST}:{mlflow_port}",
            [*python, "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1",
             "--backend-store-uri", store, "--artifacts-destination", str(root / "mlruns" / "artifacts")],
            # The job runner would start a dozen processes that nothing here uses.
            {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
    }  # fmt: skip


def wait_until_up(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the address answered before its server ended or the time ran out."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return True
        except OSError:
            time.sleep(0.3)
    return False


def main() -> None:
    """Start both servers, print their addresses, stop them on Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    arguments = parser.parse_args()
    root = Path.cwd()
    logs = root / ".lineage" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, (address, command, extra) in servers(arguments.prefect_port, arguments.mlflow_port, root).items():
            log = logs / f"{name.lower()}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **extra})
            running.append(process)
            if not wait_until_up(address, process):
                sys.exit(f"{name} did not start; see {log}")
            print(f"{name:8} {address}", flush=True)
        print("Ctrl-C stops both.", flush=True)
        while all(process.poll() is None for process in running):
            time.sleep(0.5)
    except KeyboardInterrupt:
        print()
    except StoreError as error:
        sys.exit(str(error))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


if __name__ == "__main__":
    main()
