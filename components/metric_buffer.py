"""Figures that wait to be sent, so that logging costs a training step almost nothing."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
FLUSH_POINTS = 500


class Point(NamedTuple):
    """One figure of one step; the timestamp is in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int


class MetricBuffer:
    """Points in the order they came; those of steps that a resumed run has already logged are left out."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.known_steps: dict[str, int] = {}  # the last step logged of each figure before this process started
        self.curves: set[str] = set()  # figures that were logged by step
        self.flushed_at = time.monotonic()

    def add(self, values: Mapping[str, float], step: int) -> bool:
        """Keep the figures of a step; whether it is time to send."""
        now = int(time.time() * 1000)
        self.curves |= set(values) if step else set()
        self.points += [
            Point(key, float(value), now, step) for key, value in values.items() if step > self.known_steps.get(key, -1)
        ]
        return len(self.points) >= FLUSH_POINTS or time.monotonic() - self.flushed_at >= FLUSH_SECONDS

    def keep_unsent(self, path: Path) -> None:
        """Write the points that are left to a file, and say so."""
        if not self.points:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as out:
            out.writelines(json.dumps(point._asdict()) + "\n" for point in self.points)
        logger.warning("%d figures could not be sent to MLflow; kept in %s", len(self.points), path)
