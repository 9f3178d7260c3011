"""What became of the rows of a source: by file and format, with what was refused and what of them is not used."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from components.data.records import PROBLEM_LIMIT, Problems, RecordError
from components.data.rows import Malformed, RawRecord

logger = logging.getLogger(__name__)


@dataclass
class Tally:
    """Counts records as they are written; each of the first files is said as soon as the next one begins."""

    kept: Counter[str] = field(default_factory=Counter)  # by kind
    rows: Problems = field(default_factory=Problems)
    files: Problems = field(default_factory=Problems)
    refused: Counter[str] = field(default_factory=Counter)  # rows by file
    examples: list[dict[str, Any]] = field(default_factory=list)
    _notes: Counter[str] = field(default_factory=Counter)
    _file: str = ""
    _here: Counter[str] = field(default_factory=Counter)  # of the file that is being read
    _rest: Counter[str] = field(default_factory=Counter)  # of files that are not said one by one
    _said: int = 0

    def keep(self, record: RawRecord) -> None:
        """Take in a record that is used."""
        self._begin(record.file)
        self.kept[record.kind] += 1
        self._notes.update(record.notes)
        if record.format:
            self._here[f"{record.format}: {{}} {record.kind}"] += 1

    def refuse(self, bad: Malformed) -> None:
        """Take in a row, or a file, that is not."""
        self._begin(bad.file)
        if bad.row == 0 and bad.file:
            self.files.add(bad.origin, bad.reason)
            return
        self.rows.add(bad.origin, bad.reason)
        self.refused[bad.file] += 1
        self._here["{} refused"] += 1
        if len(self.examples) < PROBLEM_LIMIT:
            self.examples.append({"file": bad.file, "row": bad.row, "reason": bad.reason})

    def close(self) -> None:
        """Say what has not been said yet."""
        self._begin("")
        if self._rest:
            logger.info("other files: %s", _sentence(self._rest))
        if self._notes:
            logger.warning("not used: %s", "; ".join(f"{note} ({count})" for note, count in self._notes.items()))

    def report(self) -> dict[str, Any]:
        """Counts of what is kept and refused, the same on every machine."""
        return {"kept": dict(self.kept), "skipped": dict(self.refused), "first": self.examples}

    def _begin(self, file: str) -> None:
        if file == self._file:
            return
        if self._here and self._said < PROBLEM_LIMIT:
            logger.info("%s: %s", self._file, _sentence(self._here))
            self._said += 1
        else:
            self._rest.update(self._here)
        self._file, self._here = file, Counter()


def listed(problems: Problems, what: str) -> str:
    """Problems with their count, up to a limit; empty where there are none."""
    try:
        problems.check(what)
    except RecordError as error:
        return str(error)
    return ""


def _sentence(counts: Counter[str]) -> str:
    return "; ".join(what.format(count) for what, count in counts.items())
