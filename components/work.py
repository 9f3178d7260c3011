"""A running stage, as its `run` is handed it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from components.pipelines import OpenPipeline
from components.rates import Rates

if TYPE_CHECKING:
    from components.gates import Gates
    from components.models.families.family import Family
    from components.sections.compute import Compute
    from components.sections.generation import Generation
    from components.sections.limits import Limits
    from components.tracking import StageTracker

Section = TypeVar("Section")


class _Declared:
    """A shared section of which a stage reads no more than it declares: DVC would not see the rest change."""

    def __init__(self, node: str, name: str, section: Any, keys: frozenset[str]) -> None:
        self._node, self._name, self._section, self._keys = node, name, section, keys

    def __getattr__(self, key: str) -> Any:
        if key not in self._keys:
            raise AttributeError(f"{self._node} reads {self._name}.{key}, which its stage does not declare as shared")
        return getattr(self._section, key)


@dataclass
class Work(Generic[Section]):
    """A running stage: its parameters, its inputs by the names that its declaration gives them, where it writes, where
    it keeps what a resumed run needs, its tracker, its final figures and how fast it is.

    `scratch` is where this process alone writes while it trains: the state folder, but for the helper processes of
    data-parallel training, which see the checkpoints and keep nothing.
    """

    name: str
    pipeline: OpenPipeline
    section: Section
    shared: Mapping[str, Any]
    out: Path
    state: Path
    scratch: Path
    tracker: "StageTracker"
    metrics: dict[str, Any] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)

    @property
    def inputs(self) -> dict[str, dict[str, Path]]:
        """Where what feeds each input lies, by the node that made it."""
        return self.pipeline.inputs(self.name)

    def path(self, name: str) -> Path:
        """A path below the stage's output folder."""
        return self.out / name

    def read(self, name: str) -> Path:
        """Where an input lies that is one artifact."""
        (path,) = self.inputs[name].values()
        return path

    def read_all(self, name: str) -> dict[str, Path]:
        """Where the artifacts of an input lie that is fed several, by the node that made each."""
        return self.inputs[name]

    @property
    def seed(self) -> int:
        """The pipeline's seed, plus the stage's own offset where it has one."""
        return int(self._declared("seed")) + int(getattr(self.section, "seed_offset", 0))

    @property
    def compute(self) -> "Compute":
        """How the arithmetic is done."""
        return cast("Compute", self._declared("compute"))

    @property
    def generation(self) -> "Generation":
        """How replies are sampled."""
        return cast("Generation", self._declared("generation"))

    @property
    def limits(self) -> "Limits":
        """How many tokens texts may have."""
        return cast("Limits", self._declared("limits"))

    @property
    def model(self) -> "Family":
        """Which language model is pretrained."""
        return cast("Family", self._declared("model"))

    @property
    def gates(self) -> "Gates":
        """Bounds that the models must keep on which this node passes the verdict, by the node that makes them."""
        bounds = cast("Gates", self._declared("gates"))
        return {node: bounds[node] for node in self.pipeline.judged(self.name) if node in bounds}

    def _declared(self, name: str) -> Any:
        declared = self.pipeline.stages[self.name].shared
        if name in declared:
            return self.shared[name]
        keys = frozenset(key.partition(".")[2] for key in declared if key.partition(".")[0] == name)
        return _Declared(self.name, name, self.shared.get(name), keys)
