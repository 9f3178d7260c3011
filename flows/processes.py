"""Running a stage's command: its lines as they come, and no process left behind however the flow ends."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GRACE_SECONDS = 10.0
OnLine = Callable[[str], None]


def run_streaming(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], on_line: OnLine) -> int:
    """Run a command in its own process group, hand over every line of its output, return its exit status.

    Whatever ends the waiting (Ctrl-C, a cancelled flow, an error in on_line) stops the whole group first; and should
    this process be killed outright, the kernel tells the command to stop.
    """
    return _follow(_start(command, cwd, env), on_line)


class Processes:
    """Commands that threads run at the same time. Only the main thread hears of Ctrl-C: it has them all stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._reason: BaseException | None = None

    def run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], on_line: OnLine) -> int:
        """As `run_streaming`; after `stop` it raises what ended the flow, as it would have done in the main thread."""
        with self._lock:
            self._go_on_unless_stopped()
            process = _start(command, cwd, env)
            self._running.add(process)
        try:
            status = _follow(process, on_line)
        finally:
            with self._lock:
                self._running.discard(process)
        self._go_on_unless_stopped()
        return status

    def stop(self, reason: BaseException) -> None:
        """Stop the process groups of all commands, side by side, and let none start any more."""
        with self._lock:
            self._reason = self._reason or reason
            running = list(self._running)
        # In threads: a second Ctrl-C ends this waiting for them, not the stopping.
        stopping = [threading.Thread(target=stop_group, args=(process,)) for process in running]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def _go_on_unless_stopped(self) -> None:
        if isinstance(self._reason, Exception):
            raise KeyboardInterrupt
        if self._reason is not None:
            raise _twin(self._reason)


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


def _twin(error: BaseException) -> BaseException:
    """An equal exception, for another thread to raise. (To copy it fails where it was given a keyword.)"""
    copied = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    return copied


def _start(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    _libc()  # loaded before the fork: another thread may hold the loader's lock during it
    return subprocess.Popen(
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


def _follow(process: subprocess.Popen[str], on_line: OnLine) -> int:
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


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _prepare_child() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in a script's background jobs
    if sys.platform == "linux":
        # PR_SET_PDEATHSIG: when the thread that forked ends, which it does after its command or with its process
        _libc().prctl(1, signal.SIGTERM)
