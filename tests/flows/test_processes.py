"""Processes that a flow starts, and those that a killed flow leaves behind."""

import os
import subprocess
import sys
import time

import psutil

from flows.processes import FLOW_VARIABLE, end_orphaned_servers

SLEEP = "import time; time.sleep(60)"
LEAVE_BEHIND = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
"""


def left_behind(**environment):
    """A process whose parent is gone."""
    command = [sys.executable, "-c", LEAVE_BEHIND, SLEEP]
    out = subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True
    )
    return psutil.Process(int(out.stdout))


def test_only_the_servers_of_dead_flows_are_ended():
    server, flow = {"PREFECT__SERVER_EPHEMERAL": "1"}, {FLOW_VARIABLE: "1"}
    living = subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, **server, **flow})
    orphan, others = left_behind(**server, **flow), [left_behind(**server), left_behind(**flow)]
    try:
        end_orphaned_servers()
        deadline = time.monotonic() + 10
        while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert living.poll() is None
        assert all(other.status() != psutil.STATUS_ZOMBIE for other in others)
    finally:
        for process in (living, *others):
            process.kill()
        living.wait()
