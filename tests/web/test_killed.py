"""A server that is killed while robots answer: what it accepted is kept, and the next one goes on."""

import contextlib
import filecmp
import http.client
import signal
import subprocess
import sys
import threading

from components.labeling.journal import Journal
from components.labeling.robots import Page
from components.labeling.snapshot import export
from flows.server import free_port
from tests.components.labels import tasks
from tests.flows.watching import is_up
from tests.web.serving import wait_until

TASKS, WORKERS = 150, ("robot-1", "robot-2", "robot-3")
RANKING = {"kind": "ranking", "ranks": [1, 2, 2, 4], "seconds": 1.0}


class Presser(threading.Thread):
    """A robot that answers until nothing is left or nobody answers it; knows what was accepted, and what may have been.

    Every third answer is different, so that one that comes back changed would be noticed.
    """

    def __init__(self, port, worker):
        super().__init__(daemon=True)
        self.page, self.accepted, self.unheard = Page(f"http://127.0.0.1:{port}", worker), {}, None

    def run(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            while task := self.page.next_task():
                given = RANKING | {"all_bad": len(self.accepted) % 3 == 0}
                self.unheard = (task, given)
                self.accepted[self.page.answer(*self.unheard)] = given
                self.unheard = None


@contextlib.contextmanager
def server(path, port):
    """A server as `make serve` starts one, killed outright at the end of the block if it still runs."""
    command = [sys.executable, "-m", "components.web", "--port", str(port), "--labels", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or is_up(port), 120)
        yield process
    finally:
        process.kill()
        process.wait()


def pressing(port):
    robots = [Presser(port, worker) for worker in WORKERS]
    for robot in robots:
        robot.start()
    return robots


def exported(journal, folder):
    export(journal, folder)
    return folder


def test_no_accepted_answer_is_lost_by_kill_9_and_the_rest_is_answered(registry, tmp_path):
    path, port = tmp_path / "labels.sqlite", free_port()
    journal = Journal(path)
    journal.add(tasks(TASKS))
    journal.close()
    with server(path, port) as process:
        robots = pressing(port)
        wait_until(lambda: sum(len(robot.accepted) for robot in robots) >= 40, 120)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    for robot in robots:
        robot.join(60)
    accepted = {name: given for robot in robots for name, given in robot.accepted.items()}
    assert 40 <= len(accepted) < TASKS

    journal = Journal(path)
    kept = {answer.id: answer for answer in journal.answers()}
    assert accepted.keys() <= kept.keys() and len(kept) - len(accepted) <= len(WORKERS)  # those that nobody heard of
    assert all(kept[name].all_bad == given["all_bad"] for name, given in accepted.items())
    first, second = (exported(journal, tmp_path / name) for name in ("first", "second"))
    names = [str(file.relative_to(first)) for file in first.rglob("*.jsonl")]
    assert len(names) == 2 and filecmp.cmpfiles(first, second, names, shallow=False) == (names, [], [])
    journal.close()

    with server(path, port):
        for robot in robots:
            send_again(robot, kept)
        again = pressing(port)
        for robot in again:
            robot.join(120)
    journal = Journal(path)
    final = {answer.id: answer for answer in journal.answers()}
    assert kept.items() <= final.items()
    assert sorted(answer.task for answer in final.values()) == sorted(task.id for task in journal.tasks())
    assert journal.progress()[0].is_done
    journal.close()


def send_again(robot, kept):
    """An answer of which nobody heard whether it was accepted, once more: it is accepted once, whichever it was."""
    if robot.unheard is not None:
        name = robot.page.answer(*robot.unheard)
        held = [answer.id for answer in kept.values() if answer.lease == robot.unheard[0]["lease"]]
        assert held in ([], [name])
