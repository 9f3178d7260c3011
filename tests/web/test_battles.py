"""Blind battles over HTTP: nothing names the versions before the vote, and votes are kept."""

import json

import pytest

from components.web.desk import Desk
from tests.web.serving import USER, serving
from tests.web.test_tasks import Robot

MODELS = ["gpt-ppo/1", "gpt-long/1"]


@pytest.fixture(scope="module")
def server(registry, tmp_path_factory):
    with serving(desk=Desk(tmp_path_factory.mktemp("votes") / "labels.sqlite")) as running:
        yield running


def begin(robot, **fields):
    return robot("arena", {"models": MODELS, "messages": USER, "max_tokens": 6, "stream": True, **fields})


def streamed(server, name, side):
    """Everything that a side's stream says, its head too, and its text."""
    status, headers, said = server.ask("POST", f"/api/arena/{name}/replies/{side}", {})
    assert status == 200
    events = [json.loads(line[6:]) for line in said.decode().splitlines() if line.startswith("data: {")]
    return json.dumps(headers) + said.decode(), "".join(
        each["choices"][0]["delta"].get("content") or "" for each in events
    )


def test_names_come_after_the_vote_and_the_table_knows_it(server):
    ann = Robot(server, "ann")
    status, told = begin(ann)
    name = told["battle"]
    assert status == 200 and set(told) == {"battle"}
    ballot = {"outcome": "a", "seconds": 2.5}
    assert ann(f"arena/{name}/vote", ballot)[0] == 409
    (seen, first), (seen_too, second) = streamed(server, name, 0), streamed(server, name, 1)
    digests = [each.digest for each in server.service.pool.loaded()]
    assert not [word for word in ("gpt-", *digests) if word in seen + seen_too]
    assert ann(f"arena/{name}/vote", ballot)[1]["error"]["code"] == "consent_needed"
    ann("consent", {"wording": "1"})
    status, told = ann(f"arena/{name}/vote", ballot)
    assert status == 200 and sorted(told["models"]) == sorted(MODELS)
    (vote,) = server.desk.journal.votes()
    assert vote.replies == (first, second) and [each.model for each in vote.sources] == told["models"]
    assert ann(f"arena/{name}/vote", ballot)[0] == 404
    # Whoever asks the versions by name, with the vote's seed, is told the same.
    for source, reply in zip(vote.sources, vote.replies, strict=True):
        again = server.chat(source.model, seed=source.seed, max_tokens=6)[1]
        assert again["choices"][0]["message"]["content"] == reply
    table = ann("arena")[1]
    assert table["votes"] == 1 and table["outcomes"] == {"a": 1, "b": 0, "tie": 0, "both_bad": 0}
    assert table["ratings"][0]["model"] == told["models"][0] and table["ratings"][0]["wins"] == 1
    assert Robot(server, "bob")("withdrawals", {"record": vote.id})[0] == 400
    assert ann("withdrawals", {"record": vote.id})[0] == 200 and ann("arena")[1]["votes"] == 0


def test_sides_are_drawn(server):
    ann = Robot(server, "ann")
    ann("consent", {"wording": "1"})
    first = set()
    for _ in range(40):
        name = begin(ann, max_tokens=1)[1]["battle"]
        for side in (0, 1):
            streamed(server, name, side)
        first.add(ann(f"arena/{name}/vote", {"outcome": "tie", "seconds": 1})[1]["models"][0])
        if len(first) == 2:
            return
    pytest.fail(f"of 40 coins all fell on {first}")


def test_the_same_reply_twice_is_a_tie_at_most(server):
    ann = Robot(server, "ann")
    ann("consent", {"wording": "1"})
    name = begin(ann, models=["gpt-ppo/1", "gpt-ppo/2"])[1]["battle"]
    assert streamed(server, name, 0)[1] == streamed(server, name, 1)[1]  # equal weights and one seed
    assert ann(f"arena/{name}/vote", {"outcome": "b", "seconds": 1})[0] == 400
    assert ann(f"arena/{name}/vote", {"outcome": "tie", "seconds": 1})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("arena", {"models": ["gpt-ppo/1"], "messages": USER}, 400),
        ("arena", {"models": ["gpt-ppo/2", "gpt-ppo@candidate"], "messages": USER}, 400),
        ("arena", {"models": ["gpt-ppo/1", "gpt-none"], "messages": USER}, 404),
        ("arena", {"models": MODELS}, 400),
        ("arena/none/replies/0", {}, 404),
        ("arena/none/replies/2", {}, 400),
        ("arena/none/vote", {"outcome": "a", "seconds": 1}, 404),
    ],
)
def test_what_does_not_fit_is_refused(server, path, body, status):
    assert Robot(server, "ann")(path, body)[0] == status
