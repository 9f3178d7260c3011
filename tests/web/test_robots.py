"""The command of simulated labelers, over HTTP: how far they agree, what they leave to people, when they end."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from components.labeling.agreement import between_workers, with_themselves
from components.labeling.gold import Gold
from components.labeling.journal import Journal
from components.labeling.robots import Page, RefusedError, Robot, Taste, work
from components.web.desk import Desk
from tests.components.labels import make_task
from tests.web.serving import serving

WORDS = "good awful happy sad cats dogs run terrible lovely rain love hate blue nice bad".split()
TASKS, REPLIES = 100, 4


def sentences(generator, count):
    """Different replies of random words: more and less friendly, longer and shorter, with and without an end."""
    found = set()
    while len(found) < count:
        words = generator.choice(WORDS, size=generator.integers(1, 30))
        found.add(" ".join(words) + generator.choice([".", ""]))
    return tuple(sorted(found))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.sqlite"


@pytest.fixture
def desk(path):
    return Desk(path)


@pytest.fixture
def server(registry, desk):
    with serving(desk=desk) as running:
        yield running


def ask(desk, count=TASKS, **more):
    generator = np.random.default_rng(11)
    desk.journal.add(
        [make_task(f"{number:03d}", replies=sentences(generator, REPLIES), **more) for number in range(count)]
    )


def shown(task):
    """What a page shows of a task to somebody who sees its replies as they stand."""
    messages = [{"role": "user", "content": task.messages[0].content}]
    return {"kind": "ranking", "round": task.round, "messages": messages, "replies": list(task.replies)}


def taste(path, **more):
    gold = Gold(["cats run", "dogs run", "question 1"])
    return Taste(gold, path, **{"agreement": 0.73, "tie_margin": 0.05, "seed": 0, **more})


def robots(server, path, count, **more):
    return [Robot(Page(server.address, f"robot-{number}"), taste(path, **more)) for number in range(1, count + 1)]


@pytest.mark.parametrize("agreement", [0.6, 0.73, 0.9])
def test_two_robots_agree_as_far_as_they_are_told(server, desk, path, agreement):
    ask(desk, workers=2)
    assert work(robots(server, path, 2, agreement=agreement), patience=1.0) == {"robot-1": TASKS, "robot-2": TASKS}
    counts = between_workers(desk.journal.answers()).values()
    share = sum(each.equal for each in counts) / sum(each.decided for each in counts)
    assert len(counts) == TASKS and share == pytest.approx(agreement, abs=0.04)


def test_what_a_robot_says_depends_neither_on_when_it_is_asked_nor_on_the_order_shown(path, desk):
    ask(desk, 2)
    first, second = map(shown, desk.journal.tasks())
    alone, later = (Robot(Page("http://unused", "robot-1"), taste(path)) for _ in range(2))
    later.said(second, 1.0)
    by_reply = dict(zip(first["replies"], alone.said(first, 1.0)["ranks"], strict=True))
    turned = first | {"replies": first["replies"][::-1]}
    assert dict(zip(turned["replies"], later.said(turned, 1.0)["ranks"], strict=True)) == by_reply
    other = Robot(Page("http://unused", "robot-2"), taste(path))
    differing = [robot.said(task, 1.0)["ranks"] for task in (first, second) for robot in (alone, other)]
    assert len({tuple(ranks) for ranks in differing}) > 2  # another worker's noise, and the noise of a second asking


def test_a_robot_disagrees_with_itself_as_with_others(server, desk, path):
    ask(desk, 120, again=True)
    (given,) = work(robots(server, path, 1), patience=1.0).values()
    again = with_themselves(desk.journal.answers()).values()
    assert given == 120 + len(again) and len(again) > 90
    share = sum(each.equal for each in again) / sum(each.decided for each in again)
    assert share == pytest.approx(0.73, abs=0.05)


def test_they_are_known_as_robots_and_leave_writing_to_people(server, desk, path):
    ask(desk, 3)
    desk.journal.add([make_task("words", kind="demonstration")])
    work(robots(server, path, 2), patience=1.0)
    answers = desk.journal.answers()
    assert {each.worker for each in answers} <= {"robot-1", "robot-2"}
    assert {each.page_version for each in answers} == {"robots"}
    assert {each.kind for each in answers if each.task == "words"} == {"skip"}
    (progress,) = desk.journal.progress()
    assert (progress.given, progress.wanted, progress.is_done) == (3, 4, False)


def test_a_task_that_comes_back_out_of_anothers_hands_is_answered(server, desk, path):
    ask(desk, 1)
    lease = desk.journal.take("ann")
    timer = threading.Timer(1.0, lambda: desk.journal.give_back("ann", lease.id))
    timer.start()
    assert work(robots(server, path, 1), patience=10.0) == {"robot-1": 1}


def test_a_round_that_is_closed_in_between_stops_nobody(server, desk, path):
    ask(desk, 2)
    (robot,) = robots(server, path, 1)
    task = robot.page.next_task()
    desk.journal.close_round(1)
    with pytest.raises(RefusedError, match="409"):
        robot.page.answer(task, robot.said(task, 1.0))
    desk.journal.add([make_task("later", round=2, replies=("good cats.", "awful"))])
    assert work([robot], patience=1.0) == {"robot-1": 1}


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "components.labeling.robots", *map(str, arguments)],
                          check=False, capture_output=True, text=True, timeout=120)  # fmt: skip


def demonstrations(tmp_path):
    row = {"id": "a", "messages": [{"role": "user", "content": "cats"}, {"role": "assistant", "content": "dogs run"}]}
    file = tmp_path / "demonstrations.jsonl"
    file.write_text(json.dumps(row) + "\n")
    return file


def test_the_command_ends_when_nothing_is_left(registry, desk, path, tmp_path):
    ask(desk, 12)
    with serving(desk=desk, token="door") as server:
        plain = ("--url", server.address, "--journal", path, "--demonstrations", demonstrations(tmp_path))
        refused = command(*plain, "--patience", 1)
        assert refused.returncode == 1 and "401" in refused.stderr and "Traceback" not in refused.stderr
        done = command(*plain, "--patience", 1, "--token", "door", "--workers", 2)
    assert done.returncode == 0, done.stderr
    given = dict(line.removesuffix(" answers").split(": ") for line in done.stdout.splitlines())
    assert given.keys() == {"robot-1", "robot-2"} and sum(map(int, given.values())) == 12
    assert Journal(path).progress()[0].is_done  # the server's own has ended with it


def test_what_is_missing_is_said(server, desk, path, tmp_path):
    ask(desk, 1)
    plain = ("--url", server.address, "--demonstrations", demonstrations(tmp_path))
    nobody = ("--url", "http://127.0.0.1:9", *plain[2:])
    for arguments, words in (
        ((*plain, "--journal", tmp_path / "none.sqlite"), "there is no journal"),
        (nobody, "no answer from http://127.0.0.1:9"),
        (("--demonstrations", tmp_path / "none.jsonl"), "none.jsonl is not there"),
        (("--agreement", "0.5"), "above 0.5"),
    ):
        done = command(*arguments)
        assert done.returncode and words in done.stderr and "Traceback" not in done.stderr, done.stderr
