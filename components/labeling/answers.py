"""Records of labelling: what people were asked, what they answered, and what chats' thumbs and battles' votes say.

One JSON object on one line, with sorted keys; unknown fields are problems. Times are seconds since the epoch (UTC).
What a page shows in another order is stored in the task's: `shown_order[p]` is the reply that stood at place p, while
`ranks`, `quality` and `flags` have one entry a reply of the task.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from components.data.records import Message, Problems, Prompt, Text, reason

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
# Neither an address nor a name with capitals and spaces fits.
PSEUDONYM = r"^[a-z0-9][a-z0-9-]{0,39}$"
Worker: TypeAlias = Annotated[str, Field(pattern=PSEUDONYM)]
Time: TypeAlias = Annotated[float, Field(ge=0)]
Rank: TypeAlias = Annotated[int, Field(ge=1)]
Long: TypeAlias = Annotated[str, Field(min_length=1, max_length=20_000)]  # characters that a person may write
# InstructGPT's labels of a reply (arXiv:2203.02155, table 3).
Flag: TypeAlias = Literal[
    "fails_task",
    "inappropriate",
    "hallucination",
    "satisfies_constraint",
    "sexual",
    "violent",
    "encourages_harm",
    "denigrates",
    "harmful_advice",
    "opinion",
    "moral_judgement",
]
Outcome: TypeAlias = Literal["a", "b", "tie", "both_bad"]  # the better of two replies, or a tie of good or bad ones
Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Source:
    """Which weights wrote a reply, and how it was sampled; `model` is what a person looks them up by."""

    model: Text
    weights_sha256: Text
    tokenizer_md5: Text
    seed: Annotated[int, Field(ge=0)]
    temperature: Annotated[float, Field(ge=0)]
    top_k: Annotated[int, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Task:
    """A question to people: replies to rank, or a prompt that waits for a demonstration.

    Attributes:
        group: of the prompt's conversation, which decides the split of whatever is learnt from the answers.
        replies: distinct texts; identical ones tie by definition and were merged before.
        sampled: token ids of each reply, `ended` whether it stopped by itself, as in `Comparison`.
        sources: who wrote each reply.
        workers: how many people are asked.
        again: whether a worker is asked a second time, later, to see if they agree with themselves.
        gold: ranks that are known to be right; everybody is asked, and nothing is trained on it.
        asked_by: the command or run that asked.
    """

    id: Text
    round: Annotated[int, Field(ge=1)]
    kind: Literal["ranking", "demonstration"]
    prompt_id: Text
    group: str = ""
    messages: tuple[Message, ...]
    replies: tuple[str, ...] = ()
    sampled: tuple[tuple[int, ...], ...] = ()
    ended: tuple[bool, ...] = ()
    sources: tuple[Source, ...] = ()
    workers: Annotated[int, Field(ge=1)] = 1
    again: bool = False
    gold: tuple[Rank, ...] = ()
    created_at: Time
    asked_by: str = ""

    @model_validator(mode="after")
    def _fits(self) -> "Task":
        Prompt(id=self.id, messages=self.messages)  # the rules of a prompt's turns
        count = len(self.replies)
        if self.kind == "ranking" and not 2 <= count <= 9:
            raise ValueError(f"replies: a ranking has 2 to 9, not {count}")
        if self.kind == "demonstration" and (count or self.gold):
            raise ValueError("replies: a demonstration is written to a prompt alone")
        if len(set(self.replies)) < count:
            raise ValueError("replies: two are the same text; merge them")
        for name in ("sampled", "ended", "sources", "gold"):
            found = len(getattr(self, name))
            if found and found != count:
                raise ValueError(f"{name}: {found} for {count} replies")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Said:
    """What a person says of a task.

    Attributes:
        kind: `rating` has quality without ranks, `skip` neither: it is never a tie.
        ranks: 1 is best, equal ranks are ties.
        quality: 1 to 7 for each reply.
        flags: what is wrong, or right, with each reply.
        all_bad: no reply is acceptable; the ranks count all the same.
        text: the demonstration that was written.
        reason: why it was skipped, or a remark.
        seconds: from showing to answering, as the page measured it.
    """

    kind: Literal["ranking", "rating", "demonstration", "skip"]
    ranks: tuple[Rank, ...] = ()
    quality: tuple[Annotated[int, Field(ge=1, le=7)], ...] = ()
    flags: tuple[tuple[Flag, ...], ...] = ()
    all_bad: bool = False
    text: Long | None = None
    reason: Annotated[str, Field(max_length=2000)] = ""
    seconds: Annotated[float, Field(ge=0)]
    page_version: str = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Given(Said):
    """An answer as a page sends it: `ranks`, `quality` and `flags` in the order in which the replies were shown."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Answer(Said):
    """What one worker answered to one task; `ranks`, `quality` and `flags` in the task's order.

    Attributes:
        shown_order: places of the page, in reading order.
        repeat: whether the worker had answered the task before.
        supersedes: the worker's answer that this one replaces.
    """

    id: Text
    task: Text
    round: Annotated[int, Field(ge=1)]
    worker: Worker
    shown_order: tuple[Annotated[int, Field(ge=0)], ...] = ()
    repeat: bool = False
    lease: Text
    answered_at: Time
    supersedes: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Answer":
        needed = {"ranking": "ranks", "rating": "quality", "demonstration": "text"}.get(self.kind)
        if needed and not getattr(self, needed):
            raise ValueError(f"{needed}: a {self.kind} needs it")
        unfit = {"ranks": ("ranking",), "quality": ("ranking", "rating"), "flags": ("ranking", "rating"),
                 "all_bad": ("ranking", "rating"), "text": ("demonstration",)}  # fmt: skip
        for name, kinds in unfit.items():
            if getattr(self, name) and self.kind not in kinds:
                raise ValueError(f"{name}: a {self.kind} has none")
        if self.ranks and min(self.ranks) != 1:
            raise ValueError("ranks: the best rank is 1")
        if sorted(self.shown_order) != list(range(len(self.shown_order))):
            raise ValueError("shown_order: every reply stands at one place")
        return self

    def check(self, task: Task) -> None:
        """Whether the answer can be one to this task.

        Raises:
            ValueError: it has more or fewer entries than there are replies, or is of another kind; names the field.
        """
        if (task.kind == "demonstration") != (self.kind == "demonstration") and self.kind != "skip":
            raise ValueError(f"kind: a {self.kind} does not answer a {task.kind}")
        for name in ("shown_order", "ranks", "quality", "flags"):
            found, replies = len(getattr(self, name)), len(task.replies)
            if found and found != replies:
                raise ValueError(f"{name}: {found} for {replies} replies")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Feedback:
    """A thumb on a reply of a chat, 1 up and -1 down, and what the person would rather have read.

    `round` is the one that was asked last when it was given, 0 before the first.
    """

    id: Text
    round: Annotated[int, Field(ge=0)]
    conversation: Text
    messages: tuple[Message, ...]
    reply: Text
    source: Source
    value: Literal[1, -1]
    tags: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")], ...] = ()
    correction: Long | None = None
    worker: Worker
    answered_at: Time
    supersedes: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Feedback":
        Prompt(id=self.id, messages=self.messages)
        if self.correction == self.reply:
            raise ValueError("correction: it is the reply")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Vote:
    """What a person found of two replies to one message, said before anybody knew who wrote them. It trains nothing.

    Attributes:
        replies: as they stood, A before B, which a coin had decided.
        sources: who wrote them.
        outcome: the better one, a tie of good ones, or both bad.
        seconds: from the second reply's end to the vote, as the page measured it.
    """

    id: Text
    worker: Worker
    messages: tuple[Message, ...]
    replies: tuple[str, str]
    sources: tuple[Source, Source]
    outcome: Outcome
    seconds: Annotated[float, Field(ge=0)]
    answered_at: Time

    @model_validator(mode="after")
    def _fits(self) -> "Vote":
        Prompt(id=self.id, messages=self.messages)
        if self.replies[0] == self.replies[1] and self.outcome in ("a", "b"):
            raise ValueError("outcome: both replies are the same text")
        return self


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(schema: Any) -> TypeAdapter[Any]:
    if schema not in _ADAPTERS:
        _ADAPTERS[schema] = TypeAdapter(schema)
    return _ADAPTERS[schema]


def parse(line: str | bytes, schema: type[Record]) -> Record:
    """The record of a line of JSON.

    Raises:
        ValueError: it breaks its schema; names the field.
    """
    try:
        found: Record = _adapter(schema).validate_json(line)
    except ValidationError as error:
        raise ValueError(reason(error)) from None
    return found


def as_line(record: Any) -> str:
    """A record as JSON with sorted keys, the same on every machine; what has its default value is left out."""
    row = _adapter(type(record)).dump_python(record, mode="json", exclude_defaults=True)
    return json.dumps(row, ensure_ascii=False, sort_keys=True)


def read(path: Path, schema: type[Record]) -> Iterator[Record]:
    """The valid records of a file, in order; once it has been read, raise if any was not.

    Raises:
        RecordError: rows broke the schema; lists them, up to `PROBLEM_LIMIT`.
    """
    problems = Problems()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = parse(line, schema)
            except ValueError as error:
                problems.add(f"{path}:{number}", str(error))
            else:
                yield record
    problems.check(f"malformed {schema.__name__.lower()} row(s)")


def write(path: Path, records: Iterable[Task | Answer | Feedback | Vote]) -> int:
    """Write records as lines; the number written."""
    lines = [as_line(record) + "\n" for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return len(lines)
