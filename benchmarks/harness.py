"""Timing sides against each other: processes that stay alive take turns, round by round, A B A B.

A figure is only ever compared with others of the same run: the ratio of two sides is the median over rounds of the
ratio within each round, and its spread the smallest and the largest.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FAR_BEHIND = 0.7  # of the fastest


@dataclass(frozen=True)
class Side:
    """A module of `benchmarks.sides`, the options it is started with, and the name it has in the report."""

    name: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Rates:
    """What the rounds of one side gave, in the case's unit; the memory it took at most; why it broke, if it did.

    `trial` is the rate of the round that warmed it up; a side without `rates` went no further.
    """

    side: Side
    rates: list[float] = field(default_factory=list)
    trial: float = 0.0
    peak_gib: float = 0.0
    trouble: str = ""

    @property
    def median(self) -> float:
        """The rate to report."""
        return statistics.median(self.rates)


class Contestant:
    """A side's process, asked for one round at a time; once it has broken it is asked no more."""

    def __init__(self, side: Side, folder: Path) -> None:
        self.result = Rates(side)
        self.log = folder / f"{side.module} {side.name}.log"
        command = [sys.executable, "-m", "benchmarks.worker", side.module, str(folder), json.dumps(dict(side.options))]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
            )
        self._answer()

    def round(self, *, trial: bool = False) -> None:
        """Run one round and keep its rate."""
        assert self.process.stdin is not None
        if self.result.trouble:
            return
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self._answer()
        if answer and trial:
            self.result.trial = answer["rate"]
        elif answer:
            self.result.rates.append(answer["rate"])
        if answer:
            self.result.peak_gib = answer["peak_gib"]

    def _answer(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "its process ended: " + self.log.read_text()[-500:]}
        self.result.trouble = answer.get("error", "")
        return None if self.result.trouble else answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def environment() -> dict[str, str]:
    """The environment of a side: this one, offline, with the project importable."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def compete(
    sides: Sequence[Side], folder: Path, *, rounds: int, warm_up: bool = True, always: Sequence[str] = ()
) -> list[Rates]:
    """Run every side's rounds in turn; before them one of each that warms up and does not count.

    A side that breaks is left out from then on, its trouble noted, and the others go on. So is one that the warm-up
    shows to be far behind another but the first, which is ours: it will not be the peer's best; those named in `always`
    go on nevertheless.
    """
    contestants: list[Contestant] = []
    try:
        for side in sides:
            contestants.append(Contestant(side, folder))
        for contestant in contestants if warm_up else ():
            contestant.round(trial=True)
        best = max((contestant.result.trial for contestant in contestants[1:]), default=0.0)
        going = [
            contestant
            for place, contestant in enumerate(contestants)
            if not place or contestant.result.trial >= FAR_BEHIND * best or contestant.result.side.name in always
        ]
        for _ in range(rounds):
            for contestant in going:
                contestant.round()
    finally:
        for contestant in contestants:
            contestant.close()
    return [contestant.result for contestant in contestants]


def ratio(ours: Rates, peer: Rates) -> tuple[float, float, float]:
    """Median, smallest and largest ratio within a round."""
    ratios = [mine / theirs for mine, theirs in zip(ours.rates, peer.rates, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)
