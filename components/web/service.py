"""From a request to an engine, and its tokens back as pieces of text."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from components.checkpoints import CheckpointError
from components.inference.catalogue import Catalogue, UnknownModel, identity
from components.inference.draws import Likelihood
from components.inference.engine import Drawn, EngineDead, EngineFull, Finish, Request
from components.inference.pool import Loaded, Pool, PoolFull
from components.losses.sampling import Sampling
from components.web.errors import ApiError
from components.web.metrics import Metrics
from components.web.text import Writer

if TYPE_CHECKING:
    from components.mlflow_store import Registered

RETRY = {"retry-after": "1"}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prompt:
    """What a model reads, and how much it may say. `headers` tell what of a conversation it does not see."""

    ids: tuple[int, ...]
    new_tokens: int
    end_ids: frozenset[int]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Piece:
    """What a step, or several, added to a choice."""

    choice: int
    text: str
    tokens: tuple[tuple[int, Likelihood], ...] = ()  # those that log-probabilities were asked of
    finish: Finish | None = None


class Answer:
    """The replies to a request while they grow; to be closed however it ends."""

    def __init__(
        self, loaded: Loaded, prompt: Prompt, request: Request, stops: Sequence[str], metrics: Metrics,
        release: Callable[[], None], *, trim: bool,
    ) -> None:  # fmt: skip
        self.loaded, self.prompt = loaded, prompt
        self._metrics, self._release = metrics, release
        self._begun: float | None = time.monotonic()
        self._writers = [Writer(loaded.tokenizer, stops, trim=trim) for _ in range(request.choices)]
        self._inbox: list[Drawn] = []
        self._arrived = asyncio.Event()
        self.created = int(time.time())
        self.drawn = 0  # tokens
        self._going = set(range(request.choices))
        self._tickets = loaded.engine.submit(request, self._receive)

    def _receive(self, drawn: Drawn) -> None:
        self._inbox.append(drawn)
        self._arrived.set()

    async def pieces(self) -> AsyncIterator[list[Piece]]:
        """What came since the last time, until all choices have ended.

        Raises:
            ApiError: 500, the engine has ended.
        """
        while self._going:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._inbox = self._inbox, []
            if self._begun is not None:
                self._metrics.first_token[self.loaded.version].observe(time.monotonic() - self._begun)
                self._begun = None
            yield _merged(piece for drawn in batch if (piece := self._piece(drawn)) is not None)

    def _piece(self, drawn: Drawn) -> Piece | None:
        choice = drawn.ticket.choice
        if drawn.token is None:
            raise ApiError(500, "the engine has ended; the server's log says why", code="engine_ended")
        if choice not in self._going:  # a stop text was met, and the engine did not know yet
            return None
        writer, finish = self._writers[choice], drawn.finish
        self.drawn += 1
        text = writer.feed(drawn.token, last=finish is not None)
        if writer.stopped:
            drawn.ticket.cancel()
            finish = "stop"
        if finish is not None:
            self._going.discard(choice)
        ends = drawn.token in self.prompt.end_ids
        tokens = () if drawn.likelihood is None or ends else ((drawn.token, drawn.likelihood),)
        return Piece(choice, text, tokens, finish)

    async def whole(self) -> list[Piece]:
        """Each choice in one piece.

        Raises:
            ApiError: 500, the engine has ended.
        """
        found = _merged([piece async for batch in self.pieces() for piece in batch])
        return sorted(found, key=lambda piece: piece.choice)

    def close(self) -> None:
        """Have the engine forget what is not finished; count; give the model back."""
        if self._going:
            self._metrics.cancelled += 1
        for ticket in self._tickets:
            ticket.cancel()
        self._metrics.tokens[self.loaded.version, "prompt"] += len(self.prompt.ids)
        self._metrics.tokens[self.loaded.version, "completion"] += self.drawn
        self._release()


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """One piece of each choice that said something."""
    by_choice: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_choice.setdefault(piece.choice, []).append(piece)
    return [
        Piece(choice, "".join(p.text for p in each), tuple(t for p in each for t in p.tokens), each[-1].finish)
        for choice, each in by_choice.items()
    ]


class Service:
    """The registered models, and those of them that are loaded."""

    def __init__(self, pool: Pool, catalogue: Catalogue) -> None:
        self.pool, self.catalogue, self.metrics = pool, catalogue, Metrics()

    @property
    def dead(self) -> list[str]:
        """Versions whose engine has ended by an exception."""
        return [each.version for each in self.pool.loaded() if each.engine.error is not None]

    async def versions(self) -> "Sequence[Registered]":
        """All registered versions.

        Raises:
            ApiError: 503, the store is down.
        """
        return await self._of_store(self.catalogue.versions)

    async def find(self, model: str) -> "Registered":
        """The version that a name means.

        Raises:
            ApiError: 404, there is none; 503, the store is down.
        """
        return await self._of_store(lambda: self.catalogue.find(model))

    async def _of_store(self, ask: Callable[[], Result]) -> Result:
        try:
            return ask() if self.catalogue.fresh else await asyncio.to_thread(ask)
        except UnknownModel as error:
            raise ApiError(404, str(error), param="model", code="model_not_found") from None
        except Exception as error:  # MLflow raises its own, sqlite's, requests' and OS errors
            raise ApiError(503, f"MLflow's store cannot be asked: {type(error).__name__}", code="no_store") from error

    async def begin(
        self, model: str, prompt: Callable[[Loaded], Prompt], sampling: Sampling, seed: int, *,
        choices: int = 1, best: int | None = None, stops: Sequence[str] = (), trim: bool = True,
    ) -> Answer:  # fmt: skip
        """Have a model answer.

        Raises:
            ApiError: 400, 404, 429, 500 or 503, as the message says.
        """
        version = identity(await self.find(model))
        try:
            lease = self.pool.take(version)
        except PoolFull as error:
            raise ApiError(429, str(error), code="models_busy", headers=RETRY) from None
        try:
            loaded = await asyncio.shield(asyncio.wrap_future(lease.future))
            asked = prompt(loaded)
            request = Request(asked.ids, asked.new_tokens, asked.end_ids, sampling, seed, choices, best)
            return Answer(loaded, asked, request, stops, self.metrics, lease.give_back, trim=trim)
        except BaseException as error:
            lease.give_back()
            raise _refusal(error) from None


def _refusal(error: BaseException) -> BaseException:
    """What a client is told of it."""
    match error:
        case CheckpointError():
            return ApiError(400, str(error), param="model", code="model_not_usable")
        case EngineFull():
            return ApiError(429, f"too many requests: {error}", code="queue_full", headers=RETRY)
        case EngineDead():
            return ApiError(500, "the engine has ended; the server's log says why", code="engine_ended")
        case _:
            return error
