"""The mechanism: a stage declares what it reads and makes, a node is a stage at a place, a pipeline is its nodes.

`dvc.yaml` is written from these (`python -m flows.render`), so whatever they tell a stage is in its entry there, and a
change of it makes exactly that stage stale. This module is no dependency of a stage.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from components.work import Work

OUTSIDE = "./"  # how a reference to a file of the repository begins, which no node makes
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Kind(StrEnum):
    """What an artifact holds. A node is only fed what its stage reads; a folder's files are of the folder's kind."""

    CLASSIFIER = "classifier"
    COMPARISONS = "comparisons"
    CURVE = "curve"
    DECISIONS = "decisions"
    DEMONSTRATIONS = "demonstrations"
    FEEDBACK = "feedback"
    FIGURES = "figures"
    ITEMS = "items"
    LABELER = "labeler"
    LABELS = "labels"
    LANGUAGE_MODEL = "language model"
    PROMPTS = "prompts"
    PROVENANCE = "provenance"
    RECORDS = "records"
    REPLIES = "replies"
    REPORT = "report"
    SCALAR_MODEL = "scalar model"
    TOKENIZER = "tokenizer"
    TOKENS = "tokens"


MODELS = frozenset({Kind.CLASSIFIER, Kind.LANGUAGE_MODEL, Kind.SCALAR_MODEL})


@dataclass(frozen=True)
class Several:
    """An input that is fed any number of artifacts of a kind; one that is fed none may be left out."""

    kind: Kind


@dataclass(frozen=True)
class Curve:
    """A table that is an artifact and a plot: the columns of its axes."""

    x: str
    y: str


@dataclass(frozen=True)
class Stage:
    """What a module declares about itself under the name STAGE.

    The module is read by flows, which load no torch: what is heavy is imported within `run`.

    Attributes:
        section: the frozen dataclass of its own parameters; None where it has none.
        run: the work, given its parameters, inputs and place.
        reads: inputs by the names that the code calls them.
        makes: files and folders below the node's own; `metrics.json` and `run.json` are every stage's.
        shared: what it reads of the sections that all stages share, whole or key by key, with the section's type.
        curves: tables among what it makes, with the axes on which they are drawn.
        headline: a file of figures for `dvc metrics`, kept in git.
        plots: a folder of plots.
    """

    section: type | None
    run: "Callable[[Work[Any]], None]"
    reads: Mapping[str, Kind | Several]
    makes: Mapping[str, Kind]
    shared: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    curves: Mapping[str, Curve] = field(default_factory=lambda: NOTHING)
    headline: str | None = None
    plots: str | None = None

    def kind(self, path: str) -> Kind | None:
        """The kind of a file or folder that the stage makes, or of one below it; None where it makes no such thing."""
        if path == "metrics.json":
            return Kind.FIGURES
        if path in self.curves:
            return Kind.CURVE
        return next((kind for made, kind in self.makes.items() if path == made or path.startswith(made + "/")), None)

    @property
    def model(self) -> Kind | None:
        """The kind of the model that it registers, or None where it makes none."""
        kind = self.makes.get("model")
        return kind if kind in MODELS else None


Reference: TypeAlias = str | tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A stage at a place: for each input of the stage a reference, `<node>/<path>` or `./<file of the repository>`.

    `stage` is the name of a module of `components.stages`, or the dotted name of any module that declares a STAGE.
    """

    name: str
    stage: str
    inputs: Mapping[str, Reference]

    @property
    def base(self) -> str:
        """The section of parameters that the node's own only has to differ from."""
        return self.stage.rpartition(".")[2]

    def references(self) -> Iterator[tuple[str, str]]:
        """Every input with every reference that feeds it."""
        for name, fed in self.inputs.items():
            yield from ((name, reference) for reference in ((fed,) if isinstance(fed, str) else fed))


def node(name: str, *, stage: str | None = None, **inputs: Reference) -> Node:
    """A node; its stage has its name unless another is given."""
    return Node(name, stage or name, MappingProxyType(inputs))


@dataclass(frozen=True, init=False)
class Pipeline:
    """Nodes in the order in which they can run."""

    nodes: Mapping[str, Node]

    def __init__(self, *nodes: Node) -> None:
        """Raises: ValueError: two nodes have a name in common."""
        named = {each.name: each for each in nodes}
        if len(named) < len(nodes):
            raise ValueError("two nodes of a pipeline have the same name")
        object.__setattr__(self, "nodes", MappingProxyType(named))

    def problems(self, stages: Mapping[str, Stage]) -> list[str]:
        """What does not fit: inputs that a stage does not read or that nobody feeds, and references to nothing.

        Args:
            stages: the declaration of each node's stage, by the node's name.
        """
        found = []
        earlier: dict[str, Stage] = {}
        for name, each in self.nodes.items():
            declared = stages[name]
            fed, read = each.inputs.keys(), declared.reads.keys()
            found += [f"{name}: {each.base} reads no {extra!r}" for extra in sorted(fed - read)]
            needed = {key for key, kind in declared.reads.items() if not isinstance(kind, Several)}
            found += [f"{name}: nothing feeds {lack!r}" for lack in sorted(needed - fed)]
            found += [f"{name}: {problem}" for problem in _misfits(each, declared, earlier)]
            earlier[name] = declared
        return found


def _misfits(each: Node, declared: Stage, earlier: Mapping[str, Stage]) -> Iterator[str]:
    for key, reference in each.references():
        wanted = declared.reads.get(key)
        if wanted is None:
            continue
        if isinstance(each.inputs[key], tuple) != isinstance(wanted, Several):
            yield f"{key} is fed {'one artifact' if isinstance(wanted, Several) else 'several'}"
        if problem := _misfit(reference, wanted.kind if isinstance(wanted, Several) else wanted, earlier):
            yield problem


def _misfit(reference: str, wanted: Kind, earlier: Mapping[str, Stage]) -> str | None:
    if reference.startswith(OUTSIDE):
        return None
    maker, _, path = reference.partition("/")
    if maker not in earlier:
        return f"{reference}: no node before it is called {maker!r}"
    kind = earlier[maker].kind(path)
    if kind is None:
        return f"{reference}: {maker} makes no {path!r}"
    return None if kind == wanted else f"{reference}: a {wanted} is read, this is a {kind}"
