"""What the tests of labelling make: tasks, answers and feedback that fit their schemas."""

from components.data.records import Message
from components.labeling.answers import Answer, Feedback, Given, Source, Task

SOURCE = Source(
    model="gpt-ppo/3", weights_sha256="ab" * 32, tokenizer_md5="cd" * 32,
    seed=5, temperature=0.7, top_k=40, top_p=0.95,
)  # fmt: skip


def said(text):
    return (Message(role="user", content=text),)


def make_task(name, *, replies=("one", "two", "three", "four"), round=1, kind="ranking", **more):
    replies = replies if kind == "ranking" else ()
    plain = {"prompt_id": f"prompt-{name}", "group": f"talk-{name}", "messages": said(f"question {name}"),
             "sources": (SOURCE,) * len(replies), "created_at": 1000.0}  # fmt: skip
    return Task(id=name, round=round, kind=kind, replies=replies, **plain | more)


def make_answer(name, task, *, worker="ann", kind="ranking", ranks=(1, 2, 3, 4), order=(0, 1, 2, 3), **more):
    plain = {"round": 1, "seconds": 9.5, "lease": f"lease-{name}", "answered_at": 2000.0}
    own = {"ranks": ranks, "shown_order": order} if kind == "ranking" else {}
    return Answer(id=name, task=task, worker=worker, kind=kind, **plain | own | more)


def make_feedback(name, *, value=1, worker="ann", **more):
    plain = {"round": 1, "conversation": f"chat-{name}", "messages": said("hello"), "reply": "hi there",
             "source": SOURCE, "answered_at": 3000.0}  # fmt: skip
    return Feedback(id=name, value=value, worker=worker, **plain | more)


class Clock:
    """Seconds since the epoch, as a test says."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def ranked(*ranks, **more):
    return Given(kind="ranking", ranks=ranks or (1, 2, 3, 4), seconds=3.0, **more)


def answer_all(journal, worker, given=None):
    """Every task that there is for a worker; how many."""
    count = 0
    while lease := journal.take(worker):
        journal.answer(worker, lease.id, given or ranked())
        count += 1
    return count


def tasks(count, **more):
    return [make_task(f"t{number:03d}", **more) for number in range(count)]
