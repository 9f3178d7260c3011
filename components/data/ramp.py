"""Batches that grow with training (Brown et al. 2020, appendix B)."""


class BatchRamp:
    """The rows of each step: from `first` a batch, linearly in the rows seen so far, to `full` after `ramp_rows`."""

    def __init__(self, *, first: int, full: int, ramp_rows: int) -> None:
        """Raises: ValueError: the first batch is larger than the full one."""
        if first > full:
            raise ValueError(f"the first batch of {first} is larger than the full one of {full}")
        self.full = full
        self._begins = [0]  # of each growing batch, and of the first full one
        while (seen := self._begins[-1]) < ramp_rows:
            self._begins.append(seen + first + (full - first) * seen // ramp_rows)

    def rows(self, step: int) -> range:
        """Numbers of a step's rows among those of the run."""
        if step + 1 < len(self._begins):
            return range(self._begins[step], self._begins[step + 1])
        begin = self._begins[-1] + (step + 1 - len(self._begins)) * self.full
        return range(begin, begin + self.full)
