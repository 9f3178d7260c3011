"""Continuous batching (Orca, OSDI 2022, section 4): one forward pass a step for all requests that are being answered.

A request joins at the next step and leaves at the step at which it ends. What a row draws is decided by random numbers
of its own, so a reply is a function of its prompt, its sampling, its seed and its choice: the requests beside it change
it only where the rounding of a product of another size tips a draw.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from components.inference.draws import Likelihood, draw_each, likelihoods
from components.losses.sampling import Sampling
from components.models.cache import KeyValueCache
from components.models.generation import padded, uniforms
from components.models.inference import for_sampling
from components.models.precision import autocast
from components.models.transformer import GPT

logger = logging.getLogger(__name__)
SLOTS, QUEUE = 32, 128
CONTEXT_LIMIT = 2048  # tokens of a row: 32 rows of SmolLM2-135M then take at most 3 GiB
PREFILL_TOKENS = 1024  # of the prompts that join in one step: more would hold up the rows that go on
# Tokens wait for the next ones so long for each row beside theirs: sending costs as much as computing, by threads that
# share an interpreter. 32 rows hear every 31 ms, which no reader sees; a row alone hears at once.
HOLD_SECONDS = 0.001

Finish = Literal["stop", "length", "error"]


class EngineFull(RuntimeError):
    """As many requests wait as may."""


class EngineDead(RuntimeError):
    """The engine was closed, or ended by an exception, and answers nothing any more."""


@dataclass(frozen=True)
class Request:
    """What is asked of an engine.

    Attributes:
        prompt: ids.
        max_new_tokens: of each reply, 1 or more.
        end_ids: what ends a reply by itself.
        sampling: how tokens are drawn.
        seed: 0 or more; with a choice's number it decides the reply.
        choices: replies to the same prompt.
        best: how many of the likeliest tokens are told at each place; None: no log-probabilities at all.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    end_ids: frozenset[int]
    sampling: Sampling
    seed: int
    choices: int = 1
    best: int | None = None


@dataclass(frozen=True)
class Drawn:
    """A token of a choice, the last one where it has a `finish`. An error has no token."""

    ticket: "Ticket"
    token: int | None
    likelihood: Likelihood | None = None
    finish: Finish | None = None


class Ticket:
    """A choice of a request, from when it waits until it has ended."""

    def __init__(self, request: Request, choice: int, receive: Callable[[Drawn], None]) -> None:
        self.request, self.choice, self.receive = request, choice, receive
        # numpy's (seed, 0) is its (seed,): choice 0 draws as the terminal chat does.
        self.uniform: list[float] = uniforms(1, request.max_new_tokens, seed=(request.seed, choice))[0].tolist()
        self.cancelled = False
        self.drawn = 0
        self.last = 0  # the token that the model has not read yet

    def cancel(self) -> None:
        """Have it leave at the next step. Nothing more is received than what is on its way."""
        self.cancelled = True


def at_once(call: Callable[[], None]) -> None:
    """Hand out on the engine's thread."""
    call()


class Engine:
    """A model that answers on a thread of its own.

    Raises:
        ValueError: no slots.
    """

    def __init__(
        self,
        model: GPT,
        *,
        slots: int = SLOTS,
        queue: int = QUEUE,
        precision: str = "32-true",
        post: Callable[[Callable[[], None]], object] = at_once,
    ) -> None:
        """`queue` choices may wait beside those that are answered.

        post: is given what hands out the tokens of a step, once a step; `loop.call_soon_threadsafe`, say.
        """
        if slots < 1:
            raise ValueError(f"{slots} slots")
        self.device = model.token_embedding.weight.device
        self.slots, self.queue, self._precision, self._post = slots, queue, precision, post
        with autocast(precision, self.device):
            self._model = for_sampling(model, rows=slots, steps=CONTEXT_LIMIT)
        self.capacity = min(model.config.context_length, CONTEXT_LIMIT)
        self._cache = KeyValueCache(
            slots=slots, capacity=self.capacity, num_layers=model.config.num_layers, device=self.device
        )
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._live: list[Ticket] = []  # in the order of the cache's rows
        self._held: dict[Ticket, list[Drawn]] = {}  # drawn, and not handed out yet
        self._handed = 0.0  # when all that was held was handed out
        self._closed = False
        self.error: BaseException | None = None
        self.steps = self.tokens = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def live(self) -> int:
        """Choices that are being answered."""
        return len(self._live)

    @property
    def waiting(self) -> int:
        """Choices that wait for a slot."""
        return len(self._waiting)

    def submit(self, request: Request, receive: Callable[[Drawn], None]) -> list[Ticket]:
        """Have a request answered: `receive` gets each token of every choice, where `post` has it called.

        Raises:
            ValueError: prompt and new tokens exceed the context, or one of them is empty.
            EngineFull: too many wait.
            EngineDead: there is nobody to answer.
        """
        needed = len(request.prompt) + request.max_new_tokens
        if not request.prompt or request.max_new_tokens < 1 or needed > self.capacity:
            raise ValueError(
                f"a prompt of {len(request.prompt)} tokens and {request.max_new_tokens} new ones: each must be 1 or "
                f"more, and together at most {self.capacity}"
            )
        with self._changed:
            if self._closed or self.error is not None:
                raise EngineDead(f"the engine has ended: {self.error or 'it was closed'}")
            if len(self._waiting) + request.choices > self.queue:
                raise EngineFull(f"{len(self._waiting)} replies wait, {self.queue} may")
            tickets = [Ticket(request, choice, receive) for choice in range(request.choices)]
            self._waiting.extend(tickets)
            self._changed.notify()
        return tickets

    def close(self) -> None:
        """End the thread; what is not answered ends with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            with torch.inference_mode(), autocast(self._precision, self.device):
                while self._wait_for_work():
                    self._step()
        except BaseException as error:  # whatever it is, those who wait must hear of it
            logger.exception("the engine has ended")
            self.error = error
        self._end_all()

    def _wait_for_work(self) -> bool:
        """Whether to go on, once there is something to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._live)
            return not self._closed

    def _step(self) -> None:
        """One token for every row that goes on, and the first for those that join."""
        cancelled = [row for row, ticket in enumerate(self._live) if ticket.cancelled]
        for row in cancelled:
            self._held.pop(self._live[row], None)
        self._drop(cancelled)
        hidden = []
        if self._live:
            last = torch.tensor([[ticket.last] for ticket in self._live], device=self.device)
            hidden.append(self._model(last, self._cache)[:, 0])
        if joining := self._joining():
            hidden.append(self._read(joining))
            self._live += joining
        if hidden:
            self._hand_out(self._model.logits(torch.cat(hidden)))

    def _joining(self) -> list[Ticket]:
        """The tickets, in their order, that free slots and the budget of a step admit."""
        joining: list[Ticket] = []
        prompts: set[tuple[int, ...]] = set()
        with self._changed:
            self._waiting = deque(ticket for ticket in self._waiting if not ticket.cancelled)
            while self._waiting and len(self._live) + len(joining) < self.slots:
                read = prompts | {self._waiting[0].request.prompt}
                if joining and len(read) * max(map(len, read)) > PREFILL_TOKENS:
                    break
                prompts = read
                joining.append(self._waiting.popleft())
        return joining

    def _read(self, joining: list[Ticket]) -> Float[Tensor, "B D"]:
        """The last hidden state of each prompt; a prompt of several choices is read once."""
        prompts = list(dict.fromkeys(ticket.request.prompt for ticket in joining))
        place = {prompt: row for row, prompt in enumerate(prompts)}
        lengths, source = [len(prompt) for prompt in prompts], [place[ticket.request.prompt] for ticket in joining]
        self._cache.admit(lengths, source)
        hidden = self._model(padded(prompts).to(self.device), self._cache)
        return hidden[source, [lengths[row] - 1 for row in source]]

    def _hand_out(self, logits: Float[Tensor, "B V"]) -> None:
        live = self._live
        uniform = torch.tensor([ticket.uniform[ticket.drawn] for ticket in live], device=self.device)
        drawn = draw_each(logits, [ticket.request.sampling for ticket in live], uniform)
        likely = self._likelihoods(logits, drawn)
        ended = []
        for row, (ticket, token) in enumerate(zip(live, drawn.tolist(), strict=True)):
            ticket.last, ticket.drawn = token, ticket.drawn + 1
            finish: Finish | None = "length" if ticket.drawn == ticket.request.max_new_tokens else None
            finish = "stop" if token in ticket.request.end_ids else finish
            self._held.setdefault(ticket, []).append(Drawn(ticket, token, likely.get(row), finish))
            if finish is not None:
                ended.append(row)
        self.steps, self.tokens = self.steps + 1, self.tokens + len(live)
        now = time.monotonic()
        if now - self._handed >= HOLD_SECONDS * (len(live) - 1):
            due, self._handed = list(self._held), now
        else:  # a first token is waited for, and after a last one the next request
            due = [ticket for row, ticket in enumerate(live) if ticket.drawn == 1 or row in ended]
        self._drop(ended)
        if due:
            self._post(partial(_deliver, [each for ticket in due for each in self._held.pop(ticket)]))

    def _likelihoods(self, logits: Tensor, drawn: Tensor) -> dict[int, Likelihood]:
        """How likely the tokens of those rows were that ask."""
        asked = {row: t.request.best for row, t in enumerate(self._live) if t.request.best is not None}
        if not asked:
            return {}
        rows = torch.tensor(list(asked), device=self.device)
        return dict(zip(asked, likelihoods(logits[rows], drawn[rows], list(asked.values())), strict=True))

    def _drop(self, rows: Iterable[int]) -> None:
        """Let rows leave; as in the cache, the last takes the place of each."""
        self._live = [self._live[row] for row in self._cache.drop(rows)]

    def _end_all(self) -> None:
        """Tell everyone who is not answered that they will not be."""
        with self._changed:
            self._closed = True
            left = [*self._live, *self._waiting]
            held = [each for ticket in self._live for each in self._held.get(ticket, ())]
            self._live.clear()
            self._waiting.clear()
        with contextlib.suppress(RuntimeError):  # of a loop that is closed: there nobody waits
            self._post(partial(_deliver, [*held, *(Drawn(ticket, None, finish="error") for ticket in left)]))


def _deliver(batch: list[Drawn]) -> None:
    for drawn in batch:
        if not drawn.ticket.cancelled:
            drawn.ticket.receive(drawn)
