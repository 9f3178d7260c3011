"""`/api/arena`: two versions answer one message without their names, a person votes, then the names are told.

The server flips the coin and keeps the names, so that the page cannot know them, and it keeps the replies, so that a
vote is about what was really said. A battle that nobody votes on is forgotten.
"""

import secrets
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from components.data.chat import ChatTokenizer
from components.inference.catalogue import identity
from components.labeling.answers import Outcome
from components.labeling.arena import Battle, ratings
from components.labeling.journal import Journal
from components.web import prompts
from components.web.completions import Chat, respond
from components.web.desk import source_of
from components.web.errors import ApiError
from components.web.people import router, worker
from components.web.service import Answer, Piece, Service
from components.web.tasks import Body, as_messages
from components.web.wire import ChatRequest, Strict, read

KEPT = 1000  # battles without a vote
SCORES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
Side = Annotated[int, Field(ge=0, le=1)]


class BattleRequest(ChatRequest):
    """What two of some versions are asked; `model` is not said."""

    model: str = "-"
    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=2, max_length=4)]


class VoteRequest(Strict):
    """What somebody found."""

    outcome: Outcome
    seconds: Annotated[float, Field(ge=0)]


@dataclass
class Fight:
    """A battle that waits for its vote."""

    asked: BattleRequest
    versions: tuple[str, str]
    seed: int
    replies: list[str | None] = field(default_factory=lambda: [None, None])


class Arena:
    """The battles without a vote, the newest ones."""

    def __init__(self) -> None:
        self._fights: OrderedDict[str, Fight] = OrderedDict()

    def begin(self, fight: Fight) -> str:
        """Its id."""
        name = secrets.token_hex(8)
        self._fights[name] = fight
        while len(self._fights) > KEPT:
            self._fights.popitem(last=False)
        return name

    def find(self, name: str) -> Fight:
        """Raises: ApiError: 404, there is no such battle, or it was voted on."""
        if name not in self._fights:
            raise ApiError(404, "this battle is over", code="no_battle")
        return self._fights[name]

    def end(self, name: str) -> None:
        """A vote was accepted."""
        self._fights.pop(name, None)


class Blind(Chat):
    """A stream that does not say who writes it, and is kept once it is whole."""

    def __init__(self, fight: Fight, side: int) -> None:
        super().__init__(fight.asked)
        self._fight, self._side, self._said = fight, side, ""

    def head(self, answer: Answer, kind: str) -> dict[str, Any]:
        return {**super().head(answer, kind), "model": "AB"[self._side], "system_fingerprint": None}

    def deltas(self, piece: Piece, tokenizer: ChatTokenizer) -> list[dict[str, Any]]:
        self._said += piece.text
        if piece.finish is not None:
            self._fight.replies[self._side] = self._said
        return super().deltas(piece, tokenizer)


def routes() -> APIRouter:
    """All of them."""
    return router(
        "/api/arena",
        ("GET", "", table),
        ("POST", "", begin),
        ("POST", "/{name}/replies/{side}", reply),
        ("POST", "/{name}/vote", vote),
    )


async def begin(http: Request, body: Body) -> dict[str, Any]:
    """Choose two versions and their sides by chance."""
    service: Service = http.app.state.service
    asked = read(BattleRequest, body)
    versions = list(dict.fromkeys([identity(await service.find(model)) for model in asked.models]))
    if len(versions) < 2:
        raise ApiError(400, f"these names all mean {versions[0]}", param="models", code="invalid_value")
    sides = secrets.SystemRandom().sample(versions, 2)
    arena: Arena = http.app.state.arena
    return {"battle": arena.begin(Fight(asked, (sides[0], sides[1]), asked.drawing_seed))}


async def reply(http: Request, name: str, side: Side) -> Response:
    """One of the two replies, as it is made."""
    service: Service = http.app.state.service
    fight: Fight = http.app.state.arena.find(name)
    asked = fight.asked
    messages = [message.plain for message in asked.messages]
    answer = await service.begin(
        fight.versions[side], lambda loaded: prompts.of_chat(loaded, messages, asked.new_tokens), asked.sampling,
        fight.seed, stops=asked.stops,
    )  # fmt: skip
    return await respond(http, asked.model_copy(update={"stream": True, "n": 1}), answer, Blind(fight, side))


def vote(http: Request, name: str, body: Body, who: Annotated[str, Depends(worker)]) -> dict[str, Any]:
    """Say which reply is better, and be told who wrote them."""
    arena: Arena = http.app.state.arena
    fight, said = arena.find(name), read(VoteRequest, body)
    first, second = fight.replies
    if first is None or second is None:
        raise ApiError(409, "both replies must have ended", code="not_whole")
    journal: Journal = http.app.state.desk.journal
    sources = [source_of(version, fight.asked.sampling, fight.seed) for version in fight.versions]
    given = journal.vote(
        who, messages=as_messages(fight.asked.messages), replies=(first, second),
        sources=(sources[0], sources[1]), outcome=said.outcome, seconds=said.seconds,
    )  # fmt: skip
    arena.end(name)
    return {"vote": given.id, "models": list(fight.versions)}


def table(http: Request) -> dict[str, Any]:
    """All versions that were voted on."""
    journal: Journal = http.app.state.desk.journal
    votes = journal.votes()
    battles = [Battle(each.sources[0].model, each.sources[1].model, SCORES[each.outcome]) for each in votes]
    outcomes = {outcome: sum(each.outcome == outcome for each in votes) for outcome in SCORES}
    return {"votes": len(votes), "outcomes": outcomes, "ratings": [asdict(each) for each in ratings(battles)]}
