"""Labelling over HTTP: leases, answers, undo, what people may see and take back, robots who disagree like people."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from components.labeling.agreement import between_workers, first_place
from components.labeling.simulated import calibrate
from components.web.desk import Desk
from components.web.people import labelers
from tests.components.labels import make_task
from tests.web.serving import serving

AGREEMENT, TASKS, REPLIES = 0.73, 100, 4


class Robot:
    """A labeler who presses the routes that the page presses."""

    def __init__(self, server, name, token=None):
        self.server, self.name = server, name
        self.headers = {"x_worker": name} | ({"authorization": f"Bearer {token}"} if token else {})

    def __call__(self, path, body=None):
        method = "GET" if body is None else "POST"
        status, _, said = self.server.ask(method, f"/api/{path}", body, **self.headers)
        return status, json.loads(said)

    def next(self):
        return self("tasks/next", {})[1]["task"]

    def answer(self, task, **given):
        return self(f"leases/{task['lease']}/answer", {"kind": "ranking", "seconds": 1.0, **given})


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "labels.sqlite")


@pytest.fixture
def server(registry, desk):
    with serving(desk=desk) as running:
        yield running


def test_a_task_is_answered_undone_and_withdrawn(server, desk):
    desk.journal.add([make_task("one")])
    ann, bob = Robot(server, "ann"), Robot(server, "bob")
    task = ann.next()
    assert ann.next()["lease"] == task["lease"] and bob.next() is None
    assert ann(f"leases/{task['lease']}/renew", {})[1]["expires_at"] >= task["expires_at"]
    assert bob(f"leases/{task['lease']}/renew", {})[0] == 409
    assert ann.answer(task, ranks=[1, 2])[0] == 400
    status, given = ann.answer(task, ranks=[2, 1, 2, 4], quality=[3, 7, 3, 1], flags=[[], [], ["opinion"], []])
    assert status == 200
    (own,) = ann("answers")[1]["answers"]
    assert (own["ranks"], own["quality"]) == ([2, 1, 2, 4], [3, 7, 3, 1]) and own["replies"] == task["replies"]
    assert bob("answers")[1]["answers"] == [] and bob(f"answers/{own['id']}/undo", {})[0] == 400
    assert bob("withdrawals", {"record": own["id"]})[0] == 400
    again = ann(f"answers/{given['answer']}/undo", {})[1]["task"]
    assert again["undoes"] == given["answer"] and again["earlier"]["ranks"] == [2, 1, 2, 4]
    assert ann.answer(again, ranks=[1, 2, 3, 4])[0] == 200
    (kept,) = desk.journal.answers()
    assert kept.supersedes == given["answer"]
    assert ann("withdrawals", {"record": kept.id})[0] == 200 and not desk.journal.answers()


def test_texts_need_consent_and_a_skip_is_no_tie(server, desk):
    desk.journal.add([make_task("one"), make_task("two", kind="demonstration")])
    ann = Robot(server, "ann")
    task = ann.next()
    status, refusal = ann.answer(task, kind="skip", reason="unclear")
    assert (status, refusal["error"]["code"]) == (403, "consent_needed")
    assert ann("consent", {"wording": "1"}) == (200, {"consented": True})
    assert ann.answer(task, kind="skip", reason="unclear")[0] == 200
    assert ann.answer(ann.next(), kind="demonstration", text="my words")[0] == 200
    assert [(each.kind, each.ranks) for each in desk.journal.answers()] == [("skip", ()), ("demonstration", ())]
    me = ann("me")[1]
    assert me["consented"] and me["answers"] == 2 and me["rounds"][0]["wanted"] == 2


def test_what_is_given_back_goes_to_the_next(server, desk):
    desk.journal.add([make_task("one")])
    ann, bob = Robot(server, "ann"), Robot(server, "bob")
    task = ann.next()
    assert ann(f"leases/{task['lease']}/return", {})[0] == 200
    assert bob.next()["messages"] == task["messages"]
    status, refusal = ann.answer(task, ranks=[1, 2, 3, 4])
    assert (status, refusal["error"]["code"]) == (409, "lease_gone")


def test_neither_known_ranks_nor_who_wrote_a_reply_reach_a_page(server, desk):
    desk.journal.add([make_task("known", gold=(1, 2, 3, 4)), make_task("open")])
    ann = Robot(server, "ann")
    seen = []
    while task := ann.next():
        seen += [json.dumps(task), json.dumps(ann("me")[1])]
        ann.answer(task, ranks=[1, 2, 3, 4])
    seen.append(json.dumps(ann("answers")[1]))
    told = "".join(seen)
    assert "gpt-ppo" not in told and "gold" not in told and "sources" not in told and '"share": null' in told
    assert ann("me")[1]["qualification"]["done"] == 1 and ann("me")[1]["qualification"]["share"] is not None


def test_labelers_with_tokens_are_who_their_token_says(registry, desk):
    desk.journal.add([make_task("one")])
    with serving(desk=desk, token="door", labelers=labelers(["ann=a-secret", "bob=b-secret"])) as server:
        assert Robot(server, "ann")("me")[0] == 401
        assert Robot(server, "ann", "guess")("me")[0] == 401
        assert Robot(server, "ann", "b-secret")("me")[1]["worker"] == "bob"
        assert Robot(server, "ann", "door")("me")[0] == 401  # the server's token is nobody's
        assert Robot(server, "ann", "door")("lineage")[0] == 200
        assert server.ask("GET", "/v1/models", authorization="Bearer a-secret")[0] == 401
    for pair in ("ann", "Ann=x", "ann="):
        with pytest.raises(ValueError, match="NAME=TOKEN"):
            labelers([pair])


@pytest.mark.parametrize("name", ["", "Ann", "a b", "x" * 41, "ann/../bob"])
def test_a_pseudonym_is_needed(server, name):
    assert Robot(server, name)("me")[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("leases/none/answer", {"kind": "ranking", "ranks": [1], "seconds": 1}, 409),
        ("leases/none/answer", {"kind": "ranking", "ranks": [1], "seconds": 1, "gold": 1}, 400),
        ("leases/none/answer", [], 400),
        ("leases/none/answer", "[" * 200_000, 400),
        ("consent", {}, 400),
        ("consent", {"wording": "\ud800"}, 400),
        ("withdrawals", {"record": "none"}, 400),
        ("answers/none/undo", {}, 400),
        ("feedback", {"model": "gpt-ppo/1"}, 400),
        ("nothing", {}, 405),
    ],
)
def test_what_does_not_fit_is_refused(server, path, body, status):
    found, refusal = Robot(server, "ann")(path, body.encode() if isinstance(body, str) else body)
    assert found == status and set(refusal["error"]) == {"message", "type", "param", "code"}


def test_a_thumb_names_the_weights_and_the_sampling(server, desk):
    ann = Robot(server, "ann")
    thumb = {"conversation_id": "c", "messages": [{"role": "user", "content": "hello"}], "reply": "hi", "seed": 7,
             "model": "gpt-ppo/1", "value": 1, "temperature": 0.5, "max_tokens": 40}  # fmt: skip
    assert ann("feedback", thumb)[0] == 403
    ann("consent", {"wording": "1"})
    status, given = ann("feedback", thumb)
    assert status == 200
    (kept,) = desk.journal.feedback()
    digest = server.chat("gpt-ppo/1", max_tokens=1)[1]["system_fingerprint"]
    assert (kept.id, kept.source.weights_sha256, kept.source.seed) == (given["feedback"], digest, 7)
    assert (kept.source.temperature, kept.source.top_p, kept.source.top_k) == (0.5, 1.0, 0)
    assert ann("feedback")[1]["feedback"][0]["reply"] == "hi"
    assert ann("feedback", thumb | {"model": "gpt-none/1"})[0] == 400
    assert ann("withdrawals", {"record": kept.id})[0] == 200 and not desk.journal.feedback()


def test_three_robots_agree_as_people_do_and_never_hold_one_task(server, desk):
    """Each task is asked of two; the n-th ranking of a task has draws of its own, whoever gives it."""
    generator = np.random.default_rng(3)
    scores = {f"question {name}": generator.normal(0, 1, REPLIES) for name in range(TASKS)}
    labeler = calibrate(list(scores.values()), agreement=AGREEMENT, tie_margin=0.05)
    replies = [f"reply {place}" for place in range(REPLIES)]
    desk.journal.add([make_task(str(name), replies=tuple(replies), workers=2) for name in range(TASKS)])
    held, given, lock, clashes = set(), dict.fromkeys(scores, 0), threading.Lock(), []
    deadline = time.monotonic() + 60

    def work(name):
        robot = Robot(server, name)
        while len(desk.journal.answers()) < 2 * TASKS and time.monotonic() < deadline:
            if not (task := robot.next()):
                time.sleep(0.01)  # all that is left for this one is in another's hands, and may come back
                continue
            question = task["messages"][-1]["content"]
            with lock:
                clashes.extend({question} & held)
                held.add(question)
                nth, given[question] = given[question], given[question] + 1
            draws = np.random.default_rng([nth, int(question.split()[1])])
            ranks = labeler.rank(scores[question], draws)
            with lock:
                held.discard(question)
            assert robot.answer(task, ranks=[ranks[replies.index(text)] for text in task["replies"]])[0] == 200

    with ThreadPoolExecutor(3) as robots:
        list(robots.map(work, ["robot-1", "robot-2", "robot-3"]))
    answers = desk.journal.answers()
    assert len(answers) == 2 * TASKS and not clashes
    assert len({(each.task, each.worker) for each in answers}) == 2 * TASKS
    assert len({each.lease for each in answers}) == 2 * TASKS
    counts = between_workers(answers).values()
    assert len(counts) == TASKS
    assert sum(each.equal for each in counts) / sum(each.decided for each in counts) == pytest.approx(0.73, abs=0.04)


def test_a_robot_that_prefers_the_first_is_flagged_and_an_honest_one_is_not(server, desk):
    desk.journal.add([make_task(str(name), workers=2) for name in range(14)])
    for name, ranks in (
        ("lazy", lambda replies: [1, 2, 3, 4]),
        ("honest", lambda replies: [1 + sorted(replies).index(r) for r in replies]),
    ):
        robot = Robot(server, name)
        while task := robot.next():
            assert robot.answer(task, ranks=ranks(task["replies"]))[0] == 200
    flagged = {name: first_place(desk.journal.answers(name)).is_flagged for name in ("lazy", "honest")}
    assert flagged == {"lazy": True, "honest": False}
