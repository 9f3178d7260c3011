"""Progress of long work: a bar with ETA on a terminal, plain lines with the same facts anywhere else."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_INTERVAL_SECONDS = 5.0
logger = logging.getLogger(__name__)


class Progress:
    """Counts units of work done out of a known total.

    Lines read `34 % | 410/1200 steps | 2:41 left | loss 3.21`: a flow reads the percentage from their beginning.
    """

    def __init__(self, total: int, unit: str, *, done: int = 0) -> None:
        self.total, self.unit, self.done = total, unit, done
        self._first, self._started = done, time.monotonic()
        self._last_line = float("-inf")
        self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True) if sys.stderr.isatty() else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Record `count` more units, with a short note on how it goes."""
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif self.done >= self.total or time.monotonic() - self._last_line >= LINE_INTERVAL_SECONDS:
            self._last_line = time.monotonic()
            logger.info("%s%s", self._line(), f" | {note}" if note else "")

    def _line(self) -> str:
        rate = (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)
        left = int((self.total - self.done) / rate) if rate else 0
        share = 100 * self.done / self.total
        return f"{share:.0f} % | {self.done}/{self.total} {self.unit} | {left // 60}:{left % 60:02d} left"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
