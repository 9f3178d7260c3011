"""The journal as files below a folder: `round-NN/{tasks,answers,feedback}.jsonl`, and `votes.jsonl` if anybody voted.

The same journal gives the same bytes.
What a worker withdrew or replaced is not in it, nor are leases, consents and who is behind a pseudonym. DVC versions
the folder (`labels.dvc`).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.records import RecordError
from components.labeling.answers import Answer, Feedback, Task, Vote, read, write

if TYPE_CHECKING:
    from components.labeling.journal import Journal

FILES: dict[str, Any] = {"tasks": Task, "answers": Answer, "feedback": Feedback, "votes": Vote}


def export(journal: "Journal", folder: Path) -> int:
    """Write the records that count; the number written. The folder is replaced as a whole once it is complete."""
    found: dict[str, Sequence[Task | Answer | Feedback]] = {
        "tasks": journal.tasks(), "answers": journal.answers(), "feedback": journal.feedback()
    }  # fmt: skip
    partial, former = (folder.with_name(f"{folder.name}.{word}") for word in ("partial", "former"))
    for path in (partial, former):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    count = 0
    for name, records in found.items():
        for number in sorted({record.round for record in records}):
            own = sorted((each for each in records if each.round == number), key=lambda each: each.id)
            count += write(partial / f"round-{number:02d}" / f"{name}.jsonl", own)
    # No round asked for them, and no stage reads them: one more must not make what was learnt from a round stale.
    if votes := sorted(journal.votes(), key=lambda each: each.id):
        count += write(partial / "votes.jsonl", votes)
    if folder.exists():
        folder.rename(former)
    partial.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
    return count


def take_in(journal: "Journal", folder: Path) -> int:
    """Add what a folder holds and the journal does not; the number of new records, all of them or none.

    Raises:
        RecordError: the folder is not there, or rows break their schema.
        JournalError: records contradict those of the journal.
    """
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder}")
    return journal.take_in(*(load(folder, schema) for schema in FILES.values()))


def load(folder: Path, schema: type[Any]) -> list[Any]:
    """The records of a kind in all rounds of a folder, or in those of one round's folder.

    Raises:
        RecordError: rows break their schema.
    """
    name = next(name for name, kind in FILES.items() if kind is schema)
    return [record for path in sorted(folder.rglob(f"{name}.jsonl")) for record in read(path, schema)]
