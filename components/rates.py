"""How fast a stage's phases are, in tokens a second: for MLflow and `run.json`, never for what DVC compares."""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TIMINGS = ("_seconds", "_per_second")  # how figures end that differ from run to run


@dataclass
class Lap:
    """One time through a phase; whoever is in it says how many real tokens it was."""

    tokens: int = 0


class Rates:
    """Tokens and seconds of each phase, of this process since it started."""

    def __init__(self) -> None:
        self._tokens: defaultdict[str, float] = defaultdict(float)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._before: dict[str, tuple[float, float]] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[Lap]:
        """Count what is done within as a lap of a phase, once the device has done it."""
        lap, started = Lap(), time.monotonic()
        yield lap
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
            sys.modules["torch"].cuda.synchronize()
        self._tokens[phase] += lap.tokens
        self._seconds[phase] += time.monotonic() - started

    def totals(self) -> dict[str, float]:
        """Tokens a second of every phase over all its laps."""
        return {f"{phase}_tokens_per_second": self._rate(phase, 0.0, 0.0) for phase in self._tokens}

    def latest(self) -> dict[str, float]:
        """Tokens a second of every phase that had laps since this was last asked, over these."""
        found = {
            f"{phase}_tokens_per_second": self._rate(phase, *self._before.get(phase, (0.0, 0.0)))
            for phase in self._tokens
            if self._before.get(phase, (0.0, 0.0))[1] < self._seconds[phase]
        }
        self._before = {phase: (self._tokens[phase], self._seconds[phase]) for phase in self._tokens}
        return found

    def _rate(self, phase: str, tokens: float, seconds: float) -> float:
        return (self._tokens[phase] - tokens) / max(self._seconds[phase] - seconds, 1e-9)
