"""People's answers as records to train on."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Generic, TypeVar

from components.data.records import Comparison, Demonstration, Message, RecordError
from components.labeling import snapshot
from components.labeling.agreement import compared, first_place, signs
from components.labeling.answers import Answer, Feedback, Task

Record = TypeVar("Record", Comparison, Demonstration)
MOST_REPLIES = 9  # of a comparison


@dataclass(frozen=True)
class Labels:
    """An export: tasks by id, and the answers and thumbs that count."""

    tasks: dict[str, Task]
    answers: list[Answer]
    feedback: list[Feedback]

    def without(self, workers: Collection[str]) -> "Labels":
        """What others gave."""
        return replace(
            self,
            answers=[each for each in self.answers if each.worker not in workers],
            feedback=[each for each in self.feedback if each.worker not in workers],
        )

    @property
    def training(self) -> list[Answer]:
        """What may be trained on: neither gold tasks, whose ranks were known, nor repetitions, which count once."""
        return [each for each in self.answers if not each.repeat and not self.tasks[each.task].gold]


@dataclass(frozen=True)
class Gathered(Generic[Record]):
    """A record, and what is known of how it came about."""

    record: Record
    about: dict[str, Any]


def load(folder: Path) -> Labels:
    """The labels of a folder, each answer held against its task.

    Raises:
        RecordError: rows break their schema, or answers do not fit their tasks.
    """
    tasks = {task.id: task for task in snapshot.load(folder, Task)}
    answers = snapshot.load(folder, Answer)
    for answer in answers:
        if answer.task not in tasks:
            raise RecordError(f"{folder}: answer {answer.id} answers a task that is not there, {answer.task}")
        try:
            answer.check(tasks[answer.task])
        except ValueError as error:
            raise RecordError(f"{folder}: answer {answer.id}: {error}") from None
    return Labels(tasks, answers, snapshot.load(folder, Feedback))


def left_out(labels: Labels, *, qualification: float, flagged: str) -> set[str]:
    """The workers whose answers are not taken.

    Args:
        labels: of all workers.
        qualification: the share of the pairs of gold tasks that a worker must order as known.
        flagged: `leave_out` where a worker is not taken who prefers what is shown first.
    """
    found = set()
    for worker, answers in _by_worker(labels).items():
        share = _gold_share(labels, answers)
        place = first_place(answers)
        if (share is not None and share < qualification) or (flagged == "leave_out" and place and place.is_flagged):
            found.add(worker)
    return found


def comparisons(labels: Labels, tokenizer_md5: str) -> list[Gathered[Comparison]]:
    """A comparison a ranking, with the conversation's group, and one for each judgement within a chat.

    The ids that were sampled are kept where they are those of the pipeline's own tokenizer.
    """
    found = []
    for answer in labels.training:
        if answer.kind != "ranking":
            continue
        task = labels.tasks[answer.task]
        own = all(source.tokenizer_md5 == tokenizer_md5 for source in task.sources)
        record = Comparison(
            id=answer.id, group=task.group or task.prompt_id, messages=task.messages, replies=task.replies,
            ranks=answer.ranks, sampled=task.sampled if own else (), ended=task.ended if own else (),
        )  # fmt: skip
        found.append(Gathered(record, _about(answer, task)))
    return found + _corrected(labels.feedback) + _thumbed(labels.feedback)


def demonstrations(labels: Labels) -> list[Gathered[Demonstration]]:
    """What people wrote themselves: to a task, or in place of a chat's reply."""
    found = []
    for answer in labels.training:
        if answer.kind == "demonstration" and answer.text:
            task = labels.tasks[answer.task]
            record = _demonstration(answer.id, task.group or task.prompt_id, task.messages, answer.text)
            found.append(Gathered(record, _about(answer, task)))
    for each in labels.feedback:
        if each.correction:
            record = _demonstration(each.id, each.conversation, each.messages, each.correction)
            found.append(Gathered(record, _about_feedback([each])))
    return found


def _demonstration(id: str, group: str, messages: tuple[Message, ...], text: str) -> Demonstration:
    return Demonstration(id=id, group=group, messages=(*messages, Message(role="assistant", content=text)))


def _corrected(feedback: Iterable[Feedback]) -> list[Gathered[Comparison]]:
    """What somebody would rather have read stands above what they read."""
    return [
        Gathered(
            Comparison(id=each.id, group=each.conversation, messages=each.messages,
                       replies=(each.correction, each.reply), ranks=(1, 2)),
            _about_feedback([each]),
        )
        for each in feedback
        if each.correction
    ]  # fmt: skip


def _thumbed(feedback: Iterable[Feedback]) -> list[Gathered[Comparison]]:
    """Replies to the same messages of a chat of which a person liked some and others not; one thumb says nothing."""
    together: dict[tuple[str, str, tuple[Message, ...]], list[Feedback]] = {}
    for each in feedback:
        together.setdefault((each.worker, each.conversation, each.messages), []).append(each)
    found = []
    for (_, conversation, messages), all_thumbs in together.items():
        thumbs = all_thumbs[:MOST_REPLIES]
        if len({each.value for each in thumbs}) == 2:
            ranks = tuple(1 if each.value > 0 else 2 for each in thumbs)
            record = Comparison(id=f"{thumbs[0].id}-thumbs", group=conversation, messages=messages,
                                replies=tuple(each.reply for each in thumbs), ranks=ranks)  # fmt: skip
            found.append(Gathered(record, _about_feedback(thumbs)))
    return found


def _about(answer: Answer, task: Task) -> dict[str, Any]:
    return {
        "id": answer.id, "task": task.id, "round": task.round, "worker": answer.worker, "seconds": answer.seconds,
        "shown_order": answer.shown_order, "quality": answer.quality, "flags": answer.flags, "all_bad": answer.all_bad,
        "models": [source.model for source in task.sources], "asked_by": task.asked_by,
        "weights_sha256": [source.weights_sha256 for source in task.sources],
    }  # fmt: skip


def _about_feedback(thumbs: list[Feedback]) -> dict[str, Any]:
    return {
        "id": thumbs[0].id, "round": thumbs[0].round, "worker": thumbs[0].worker, "feedback": [f.id for f in thumbs],
        "models": [each.source.model for each in thumbs], "tags": [each.tags for each in thumbs],
        "weights_sha256": [each.source.weights_sha256 for each in thumbs],
    }  # fmt: skip


def write_provenance(path: Path, gathered: Iterable[Gathered[Any]]) -> None:
    """One line a record, found by its id."""
    rows = (json.dumps(each.about | {"id": each.record.id}, ensure_ascii=False, sort_keys=True) for each in gathered)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8", newline="\n")


def counts(labels: Labels) -> dict[str, Any]:
    """How many tasks, answers of each kind and thumbs there are; thumbs by the version that wrote the reply."""
    kinds = Counter(answer.kind for answer in labels.answers)
    figures: dict[str, Any] = {
        "tasks": len(labels.tasks), "answers": len(labels.answers), "skips": kinds["skip"],
        "repetitions": sum(answer.repeat for answer in labels.answers),
        "all_bad": sum(answer.all_bad for answer in labels.answers), "thumbs": len(labels.feedback),
    }  # fmt: skip
    models: dict[str, list[int]] = {}
    for each in labels.feedback:
        models.setdefault(each.source.model, []).append(each.value)
    shares = {model: {"thumbs_up_share": values.count(1) / len(values)} for model, values in models.items()}
    return figures | ({"models": shares} if shares else {})


def by_worker(labels: Labels) -> dict[str, Any]:
    """Each worker's answers, median seconds, share of gold pairs, and what the first place did to them."""
    found: dict[str, Any] = {}
    for worker, answers in sorted(_by_worker(labels).items()):
        own: dict[str, Any] = {"answers": len(answers), "seconds": median(each.seconds for each in answers)}
        if (place := first_place(answers)) is not None:
            own |= {"first_place": place.share, "flagged": int(place.is_flagged)}
        if (share := _gold_share(labels, answers)) is not None:
            own["gold_share"] = share
        found[worker] = own
    flagged = sum(own.get("flagged", 0) for own in found.values())
    return {"workers": found, "flagged": flagged} if found else {}


def _by_worker(labels: Labels) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in labels.answers:
        found.setdefault(answer.worker, []).append(answer)
    return found


def _gold_share(labels: Labels, answers: Iterable[Answer]) -> float | None:
    """The share of the known pairs of gold tasks that answers order as known; a tie does not. None without any."""
    equal = known = 0
    for answer in answers:
        gold = labels.tasks[answer.task].gold
        if gold and answer.kind == "ranking" and not answer.repeat:
            equal += compared(gold, answer.ranks).equal
            known += sum(sign != 0 for sign in signs(gold))
    return equal / known if known else None
