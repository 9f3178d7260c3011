"""Which windows of a text a pretraining step reads: batches that may grow, of corpora that may be weighted."""

from typing import TYPE_CHECKING

from components.data.mixture import Mixture
from components.data.order import epoch_windows
from components.data.ramp import BatchRamp
from components.data.records import RecordError
from components.data.tokens import TokenFileMeta

if TYPE_CHECKING:
    from components.stages.pretrain import Pretrain


class WindowOrder:
    """First tokens of each step's windows: a function of the step, whatever was read before.

    Raises:
        RecordError: a corpus is weighted that the tokens have not, or has not one window; or one has no weight.
    """

    def __init__(self, meta: TokenFileMeta, params: "Pretrain", *, context_length: int, seed: int) -> None:
        self.context_length, self.seed = context_length, seed
        self._sizes = BatchRamp(
            first=params.first_batch_size or params.batch_size, full=params.batch_size, ramp_rows=params.ramp_windows
        )
        self.corpora = meta.corpora if params.mixture else {"": range(meta.tokens)}
        _check(self.corpora, params.mixture, context_length)
        self._mixture = Mixture(params.mixture, seed=seed) if len(params.mixture) > 1 else None

    def starts(self, step: int) -> list[int]:
        """First tokens of a step's windows."""
        rows = self._sizes.rows(step)
        if self._mixture is None:
            ((name, _),) = self.corpora.items()
            return self._of(name, rows)
        places = self._mixture.places(rows)
        starts: dict[str, list[int]] = {}
        for name in self.corpora:
            own = [place for corpus, place in places if corpus == name]
            starts[name] = self._of(name, range(own[0], own[-1] + 1)) if own else []
        left = {name: iter(found) for name, found in starts.items()}
        return [next(left[name]) for name, _ in places]

    def _of(self, corpus: str, places: range) -> list[int]:
        tokens = self.corpora[corpus]
        found = epoch_windows(places, num_tokens=len(tokens), context_length=self.context_length, seed=self.seed)
        return [tokens.start + start for start in found]

    def tokens(self, steps: int) -> int:
        """How many tokens the first steps predict."""
        return self._sizes.rows(steps).start * self.context_length

    def epochs(self, steps: int) -> dict[str, float]:
        """How often each corpus is read in the first steps."""
        rows = self._sizes.rows(steps).start
        drawn = self._mixture.drawn(rows) if self._mixture else dict.fromkeys(self.corpora, rows)
        return {name: drawn[name] * self.context_length / len(tokens) for name, tokens in self.corpora.items()}


def _check(corpora: dict[str, range], mixture: dict[str, float], context_length: int) -> None:
    if not mixture:
        return
    if corpora.keys() != mixture.keys():
        raise RecordError(
            f"pretrain.mixture weighs {', '.join(mixture)}; the tokens are of {', '.join(map(repr, corpora))}: "
            "weigh each of them, or none"
        )
    short = [name for name, tokens in corpora.items() if len(tokens) <= context_length]
    if short:
        raise RecordError(f"{', '.join(short)}: fewer tokens than one window of {context_length} and one")
