"""Processes that a flow starts, and those that a killed flow leaves behind."""

import os
import subprocess
import sys

import psutil

from components.lineage import process_identity
from flows.processes import FLOW_VARIABLE, end_orphaned_servers


def sleeper(**environment):
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, **environment})


def test_only_the_servers_of_dead_flows_are_ended():
    gone = sleeper()
    dead = process_identity(psutil.Process(gone.pid))
    gone.kill()
    gone.wait()
    ephemeral = {"PREFECT__SERVER_EPHEMERAL": "1"}
    orphan = sleeper(**ephemeral, **{FLOW_VARIABLE: dead})
    others = [
        sleeper(**ephemeral, **{FLOW_VARIABLE: process_identity()}),
        sleeper(**ephemeral),
        sleeper(**{FLOW_VARIABLE: dead}),
    ]
    try:
        end_orphaned_servers()
        assert orphan.wait(timeout=10) != 0
        assert all(other.poll() is None for other in others)
    finally:
        for process in (orphan, *others):
            process.kill()
            process.wait()
