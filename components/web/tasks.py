"""`/api`: what labelers are asked and what they answer, what they said so far, and thumbs of chats."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from components.data.records import Message, as_chat
from components.labeling import gathering
from components.labeling.answers import Answer, Feedback, Given, Task, parse
from components.labeling.journal import Journal
from components.labeling.leases import Lease
from components.web.desk import Desk, source_of
from components.web.errors import ApiError
from components.web.people import router, worker
from components.web.wire import Asked, ChatMessage, Strict, read

SHOWN = 100  # of their own answers, the newest
Worker = Annotated[str, Depends(worker)]


async def _body(http: Request) -> bytes:
    return await http.body()


def _desk(http: Request) -> Desk:
    found: Desk = http.app.state.desk
    return found


def _journal(http: Request) -> Journal:
    return _desk(http).journal


Body = Annotated[bytes, Depends(_body)]
Ledger = Annotated[Journal, Depends(_journal)]


class Wording(Strict):
    """What somebody agrees to: the version of the text that they read."""

    wording: Annotated[str, Field(min_length=1, max_length=200)]


class Withdrawal(Strict):
    """An answer, a thumb or a vote that is taken back."""

    record: Annotated[str, Field(min_length=1, max_length=100)]


class Thumb(Asked):
    """A thumb on a reply, with the fields of the request that was answered by it."""

    conversation_id: Annotated[str, Field(min_length=1, max_length=100)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    reply: Annotated[str, Field(min_length=1, max_length=100_000)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    value: Literal[1, -1]
    tags: list[str] = Field(default_factory=list, max_length=20)
    correction: Annotated[str, Field(max_length=20_000)] | None = None


def as_messages(said: Iterable[ChatMessage]) -> tuple[Message, ...]:
    """A conversation as records hold it."""
    return tuple(Message(**cast(Any, each.plain)) for each in said)


def routes() -> APIRouter:
    """All of them. They wait for the disk, so they are plain functions, which the server runs in threads."""
    return router(
        "/api",
        ("GET", "/me", me),
        ("POST", "/consent", consent),
        ("POST", "/tasks/next", next_task),
        ("POST", "/leases/{lease}/renew", renew),
        ("POST", "/leases/{lease}/return", give_back),
        ("POST", "/leases/{lease}/answer", answer),
        ("GET", "/answers", own_answers),
        ("POST", "/answers/{record}/undo", undo),
        ("POST", "/withdrawals", withdraw),
        ("GET", "/feedback", own_feedback),
        ("POST", "/feedback", feedback),
    )


def me(http: Request, who: Worker, journal: Ledger) -> dict[str, Any]:
    """Who asks, what they have done, and what is left for everybody."""
    answers = journal.answers(who)
    return {
        "worker": who,
        "consented": journal.has_consented(who),
        "page_version": _desk(http).page_version,
        "answers": len(answers),
        "qualification": _qualification(journal.tasks(), answers, who),
        "rounds": [asdict(each) | {"done": each.is_done} for each in journal.progress()],
    }


def _qualification(tasks: list[Task], answers: list[Answer], who: str) -> dict[str, Any]:
    """How far somebody is with the tasks whose ranks are known; the share that they got right once they did all."""
    gold = {task.id: task for task in tasks if task.gold}
    own = [each for each in answers if each.task in gold]
    done = len({each.task for each in own})
    found = gathering.by_worker(gathering.Labels(gold, own, []))
    share = found["workers"][who].get("gold_share") if found and done == len(gold) else None
    return {"tasks": len(gold), "done": done, "share": share}


def consent(body: Body, who: Worker, journal: Ledger) -> dict[str, Any]:
    """Agree that texts are stored."""
    journal.consent(who, read(Wording, body).wording)
    return {"consented": True}


def next_task(who: Worker, journal: Ledger) -> dict[str, Any]:
    """What somebody holds, or the next task for them; `task` is null where there is none."""
    lease = journal.take(who)
    return {"task": lease and _shown(lease, journal)}


def renew(lease: str, who: Worker, journal: Ledger) -> dict[str, Any]:
    """Keep a task for longer."""
    return {"expires_at": journal.renew(who, lease).expires_at}


def give_back(lease: str, who: Worker, journal: Ledger) -> dict[str, Any]:
    """Let go of a task."""
    journal.give_back(who, lease)
    return {"returned": lease}


def answer(lease: str, body: Body, who: Worker, journal: Ledger) -> dict[str, Any]:
    """Answer a task; a skip is an answer too."""
    try:
        given = parse(body, Given)
    except ValueError as error:
        raise ApiError(400, str(error), code="invalid_value") from None
    return {"answer": journal.answer(who, lease, given).id}


def undo(record: str, who: Worker, journal: Ledger) -> dict[str, Any]:
    """An answer's task once more; the next answer replaces that one."""
    return {"task": _shown(journal.reopen(who, record), journal)}


def withdraw(body: Body, who: Worker, journal: Ledger) -> dict[str, Any]:
    """Take an answer, a thumb or a vote of one's own back."""
    record = read(Withdrawal, body).record
    journal.withdraw(who, record)
    return {"withdrawn": record}


def own_answers(who: Worker, journal: Ledger) -> dict[str, Any]:
    """The newest of one's own answers that count, the newest first."""
    tasks = {task.id: task for task in journal.tasks()}
    newest = journal.answers(who)[: -SHOWN - 1 : -1]
    return {"answers": [_told(each, tasks[each.task]) for each in newest]}


def _shown(lease: Lease, journal: Journal) -> dict[str, Any]:
    """A task as a page may know it, with the answer that is undone."""
    earlier = None
    if lease.supersedes is not None:
        found = next((each for each in journal.answers(lease.worker) if each.id == lease.supersedes), None)
        earlier = found and _told(found, lease.task)
    return lease.page() | {"earlier": earlier}


def _told(given: Answer, task: Task) -> dict[str, Any]:
    """An answer to whoever gave it, in the order in which they saw the replies."""
    order = given.shown_order or tuple(range(len(task.replies)))
    kept = {name: values and [values[place] for place in order]
            for name in ("ranks", "quality", "flags") if (values := getattr(given, name)) is not None}  # fmt: skip
    return {
        **kept, "id": given.id, "kind": given.kind, "round": given.round, "answered_at": given.answered_at,
        "messages": as_chat(task.messages), "replies": [task.replies[place] for place in order],
        "all_bad": given.all_bad, "text": given.text, "reason": given.reason,
    }  # fmt: skip


def feedback(body: Body, who: Worker, journal: Ledger) -> dict[str, Any]:
    """A thumb; whoever gives it must have agreed that the conversation is stored."""
    asked = read(Thumb, body)
    given = journal.thumb(
        who, conversation=asked.conversation_id, messages=as_messages(asked.messages),
        reply=asked.reply, source=source_of(asked.model, asked.sampling, asked.seed), value=asked.value,
        tags=tuple(asked.tags), correction=asked.correction or None,
    )  # fmt: skip
    return {"feedback": given.id}


def own_feedback(who: Worker, journal: Ledger) -> dict[str, Any]:
    """The newest of one's own thumbs that count, the newest first."""
    return {"feedback": [_thumb(each) for each in journal.feedback(who)[: -SHOWN - 1 : -1]]}


def _thumb(given: Feedback) -> dict[str, Any]:
    return {
        "id": given.id, "value": given.value, "tags": list(given.tags), "correction": given.correction,
        "messages": as_chat(given.messages), "reply": given.reply, "model": given.source.model,
        "answered_at": given.answered_at,
    }  # fmt: skip
