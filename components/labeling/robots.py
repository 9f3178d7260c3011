"""Robots: simulated labelers who press the routes that the page presses, so that rounds can be run without people.

    python -m components.labeling.robots --url http://127.0.0.1:8000                # what `make serve` listens on
    python -m components.labeling.robots --workers 2 --agreement 0.9 --patience 600

A robot ranks by the gold function (components/labeling/gold.py) plus noise of its own, and ties what it finds alike.
The noise is as loud as makes two robots agree on --agreement of the pairs that neither ties; it is found from the
replies of all of a round's tasks, which no page shows and which are read in the journal's file. What a robot says of a
task is decided by --seed, its name and the task, not by when it is asked. A prompt that waits for a person's words it
skips.

Its answers are stored as those of `robot-1`, `robot-2` and so on, with `robots` for the version of the page. A robot
ends when it has found nothing for --patience seconds: until then a task may come back out of another's hands.
"""

import argparse
import hashlib
import http.client
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from components.data.records import RecordError
from components.labeling.gold import Gold
from components.labeling.journal import PATH, Journal, JournalError
from components.labeling.simulated import LabelerModel, calibrate
from components.loopback import spare_loopback

DEMONSTRATIONS = Path("artifacts/prepare/demonstrations/train.jsonl")
PAGE_VERSION = "robots"  # stored with each answer, where a person's has the version of the page
PAUSE_SECONDS = 0.5  # between two questions whether there is a task
TIMEOUT_SECONDS = 30.0
GONE = 409  # the task was answered, has gone to somebody else, or its round was closed


class RefusedError(Exception):
    """The server refused what was pressed; `status` is HTTP's."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status


class Page:
    """What a worker's page can press."""

    def __init__(self, url: str, worker: str, token: str | None = None) -> None:
        self._api, self.worker = f"{url.rstrip('/')}/api/", worker
        self._headers = {"content-type": "application/json", "x-worker": worker}
        self._headers |= {"authorization": f"Bearer {token}"} if token else {}

    def press(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a route below /api says to a POST.

        Raises:
            RefusedError: it refuses.
            OSError, HTTPException: nobody answers, or not to the end.
        """
        request = urllib.request.Request(self._api + path, json.dumps(body).encode(), self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            raise RefusedError(error.code, error.read().decode(errors="replace")) from None

    def next_task(self) -> dict[str, Any] | None:
        """The task in the worker's hands."""
        task: dict[str, Any] | None = self.press("tasks/next", {})["task"]
        return task

    def answer(self, task: dict[str, Any], given: dict[str, Any]) -> str:
        """Answer it; the answer's id."""
        return str(self.press(f"leases/{task['lease']}/answer", given)["answer"])


class Taste:
    """What all robots like, and how far each strays from it."""

    def __init__(self, gold: Gold, journal: Path, *, agreement: float, tie_margin: float, seed: int) -> None:
        """`journal`: the file of the server's tasks."""
        self._gold, self._journal, self._seed = gold, journal, seed
        self._agreement, self._tie_margin = agreement, tie_margin
        self._lock, self._labelers = threading.Lock(), dict[int, LabelerModel]()

    def labeler(self, round: int) -> LabelerModel:
        """The noise with which two agree as asked on the replies that are asked about in a round.

        Raises:
            JournalError: the file is not there.
            ValueError: the replies of each task all score alike.
        """
        with self._lock:
            if round not in self._labelers:
                found = [self._scores(task.messages[-1].content, task.replies)
                         for task in self._tasks() if task.round == round and task.replies]  # fmt: skip
                self._labelers[round] = calibrate(found, agreement=self._agreement, tie_margin=self._tie_margin)
            return self._labelers[round]

    def ranks(self, worker: str, task: dict[str, Any], *, asking: int) -> list[int]:
        """A worker's ranks of the replies that a page shows; `asking` tells the second time from the first."""
        user, replies = task["messages"][-1]["content"], task["replies"]
        order = sorted(range(len(replies)), key=lambda place: str(replies[place]))
        asked = json.dumps([self._seed, worker, asking, task["messages"], sorted(replies)])
        draws = np.random.default_rng(int.from_bytes(hashlib.sha256(asked.encode()).digest()))
        found = self.labeler(task["round"]).rank(self._scores(user, [replies[place] for place in order]), draws)
        return [found[order.index(place)] for place in range(len(replies))]

    def _scores(self, user: str, replies: Sequence[str]) -> np.ndarray:
        return np.array([self._gold.score(user, reply) for reply in replies])

    def _tasks(self) -> list[Any]:
        if not self._journal.exists():
            raise JournalError(f"there is no journal at {self._journal}: --journal names the one of the server")
        journal = Journal(self._journal)
        tasks = journal.tasks()
        journal.close()
        return tasks


class Robot:
    """A simulated labeler in front of a page."""

    def __init__(self, page: Page, taste: Taste) -> None:
        self.page, self._taste, self._times = page, taste, Counter[str]()

    def said(self, task: dict[str, Any], seconds: float) -> dict[str, Any]:
        """What it answers after so many seconds, as a page sends it."""
        about: dict[str, Any] = {"page_version": PAGE_VERSION, "seconds": round(seconds, 3)}
        if task["kind"] != "ranking":
            return {"kind": "skip", **about}
        question = json.dumps([task["messages"], sorted(task["replies"])])
        self._times[question] += 1
        ranks = self._taste.ranks(self.page.worker, task, asking=self._times[question])
        return {"kind": "ranking", "ranks": ranks, **about}

    def work(self, patience: float, stop: threading.Event) -> int:
        """Answer until nothing was there for `patience` seconds, or somebody says stop; how many answers."""
        given, until = 0, time.monotonic() + patience
        while not stop.is_set() and time.monotonic() < until:
            task, begun = self.page.next_task(), time.monotonic()
            if task is None:
                stop.wait(PAUSE_SECONDS)
                continue
            try:
                self.page.answer(task, self.said(task, time.monotonic() - begun))
                given += 1
            except RefusedError as error:
                if error.status != GONE:
                    raise
            until = time.monotonic() + patience
        return given


def work(robots: Sequence[Robot], patience: float) -> dict[str, int]:
    """Have all work at the same time until each has ended; their answers by their names. One that fails stops all."""
    stop = threading.Event()

    def until_trouble(robot: Robot) -> int:
        try:
            return robot.work(patience, stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(len(robots)) as pool:
        try:
            return dict(zip([each.page.worker for each in robots], pool.map(until_trouble, robots), strict=True))
        finally:
            stop.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.labeling.robots", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="where the server is (%(default)s)")
    add("--token", help="what the server wants to be sent, if it wants one")
    add("--workers", type=int, default=3, metavar="N", help="how many robots (%(default)s)")
    add("--agreement", type=float, default=0.73, help="share of pairs on which two agree, above 0.5 (%(default)s)")
    add("--tie-margin", type=float, default=0.05, help="what scores closer than this ties (%(default)s)")
    add("--seed", type=int, default=0, help="of their noise (%(default)s)")
    add("--patience", type=float, default=10.0, metavar="SECONDS", help="to ask again for a task (%(default)s)")
    add("--journal", type=Path, default=PATH, metavar="FILE", help="where the server keeps its tasks (%(default)s)")
    add("--demonstrations", type=Path, default=DEMONSTRATIONS, metavar="FILE",
        help="says how common each word is (%(default)s)")  # fmt: skip
    return parser


def main() -> None:
    """The command line."""
    parser = _parser()
    options = parser.parse_args()
    if options.workers < 1 or not 0.5 < options.agreement < 1 or options.tie_margin < 0:
        parser.error("--workers is 1 or more, --agreement above 0.5 and below 1, --tie-margin not below 0")
    spare_loopback()
    try:
        gold = Gold.of_demonstrations(options.demonstrations)
        taste = Taste(gold, options.journal, agreement=options.agreement, tie_margin=options.tie_margin,
                      seed=options.seed)  # fmt: skip
        pages = [Page(options.url, f"robot-{number}", options.token) for number in range(1, options.workers + 1)]
        for worker, given in work([Robot(page, taste) for page in pages], options.patience).items():
            print(f"{worker}: {given} answers")
    except FileNotFoundError as error:
        sys.exit(f"robots: {error.filename} is not there")
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"robots: no answer from {options.url}: {error}")
    except (RefusedError, RecordError, JournalError, ValueError) as error:
        sys.exit(f"robots: {error}")
    except KeyboardInterrupt:
        sys.exit("robots: stopped; what was answered is kept")


if __name__ == "__main__":
    main()
