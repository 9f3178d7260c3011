"""Who is still there: processes told apart whatever the clock says, on this host and on others."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from components.lineage import is_alive, process_identity


@pytest.fixture
def process():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def parts(process):
    return process_identity(psutil.Process(process.pid)).split("|")


def test_a_running_process_is_alive_and_one_that_ended_is_not(process):
    identity = process_identity(psutil.Process(process.pid))
    assert is_alive(identity)
    process.kill()
    process.wait()
    assert not is_alive(identity)


def test_a_clock_that_is_set_by_a_second_changes_nobody(process, monkeypatch):
    """psutil's times of creation follow the wall clock; on Linux it is read from /proc/stat."""
    identity = process_identity(psutil.Process(process.pid))
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 1)
    assert is_alive(identity)
    assert process_identity(psutil.Process(process.pid)) == identity


def test_a_killed_process_that_nobody_has_asked_about_is_dead(process):
    identity = process_identity(psutil.Process(process.pid))
    process.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert not is_alive(identity)


def test_only_this_hosts_dead_are_dead(process):
    host, boot, pid, start = parts(process)
    assert is_alive("|".join(("elsewhere", "another-boot/1", pid, "1")))
    assert not is_alive("|".join((host, "another-boot/1", pid, start)))  # before this machine was started again
    assert not is_alive("|".join((host, boot, pid, str(int(start) + 1))))  # the number was given to another process


@pytest.mark.skipif(sys.platform != "linux", reason="process spaces are Linux's")
def test_a_process_of_a_container_on_this_host_is_not_taken_for_ours(process):
    host, boot, *_ = parts(process)
    other_space = boot.partition("/")[0] + "/1"
    assert is_alive("|".join((host, other_space, "1", "1")))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_name_with_brackets_and_spaces_hides_no_start(tmp_path):
    program = tmp_path / "a) b (c"
    program.symlink_to(sys.executable)
    process = subprocess.Popen([program, "-c", "import time; time.sleep(60)"])
    try:
        start = int(parts(process)[3]) / os.sysconf("SC_CLK_TCK")
        assert start == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=30)
    finally:
        process.kill()
        process.wait()
