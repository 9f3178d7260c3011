"""Running a stage's command: its lines as they come, and no process left behind however the flow ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GRACE_SECONDS = 10.0


def run_streaming(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], on_line: Callable[[str], None]) -> int:
    """Run a command in its own process group, hand over every line of its output, return its exit status.

    Whatever ends the waiting (Ctrl-C, a cancelled flow, an error in on_line) stops the whole group first; and should
    this process be killed outright, the kernel tells the command to stop.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_prepare_child,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            on_line(line.rstrip())
        return process.wait()
    except BaseException:
        stop_group(process)
        raise
    finally:
        process.stdout.close()


def stop_group(process: subprocess.Popen[str]) -> None:
    """End a process group: asked with SIGINT, told with SIGTERM, then killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None and not _group_alive(process.pid):
                return
            time.sleep(0.05)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _prepare_child() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in a script's background jobs
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
