"""The mechanism: a stage declares what it reads and makes, a node is a stage at a place, a pipeline is its nodes.

`dvc.yaml` is written from these (`python -m flows.render`), so whatever they tell a stage is in its entry there, and a
change of it makes exactly that stage stale. This module is no dependency of a stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

ARTIFACTS = Path("artifacts")
OUTSIDE = "./"  # how a reference to a file of the repository begins, which no node makes


class Kind(StrEnum):
    """What an artifact holds. A node is only fed what its stage reads; a folder's files are of the folder's kind."""

    COMPARISONS = "comparisons"
    CURVE = "curve"
    DEMONSTRATIONS = "demonstrations"
    FIGURES = "figures"
    LABELER = "labeler"
    LANGUAGE_MODEL = "language model"
    PROMPTS = "prompts"
    RECORDS = "records"
    REPORT = "report"
    SCALAR_MODEL = "scalar model"
    TOKENIZER = "tokenizer"
    TOKENS = "tokens"


@dataclass(frozen=True)
class Curve:
    """A table that is an artifact and a plot: the columns of its axes."""

    x: str
    y: str


@dataclass(frozen=True)
class Stage:
    """What a module of `components/stages` declares about itself.

    Attributes:
        reads: inputs by the names that the code calls them.
        makes: files and folders below the node's own; `metrics.json` and `run.json` are every stage's.
        params: sections and keys of the parameters that the code reads.
        curves: tables among what it makes, with the axes on which they are drawn.
        headline: a file of figures for `dvc metrics`, kept in git.
        plots: a folder of plots.
    """

    reads: Mapping[str, Kind]
    makes: Mapping[str, Kind]
    params: tuple[str, ...]
    curves: Mapping[str, Curve] = field(default_factory=lambda: MappingProxyType({}))
    headline: str | None = None
    plots: str | None = None

    def kind(self, path: str) -> Kind | None:
        """The kind of a file or folder that the stage makes, or of one below it; None where it makes no such thing."""
        if path == "metrics.json":
            return Kind.FIGURES
        if path in self.curves:
            return Kind.CURVE
        return next((kind for made, kind in self.makes.items() if path == made or path.startswith(made + "/")), None)


@dataclass(frozen=True)
class Node:
    """A stage at a place: for each input of the stage a reference, `<node>/<path>` or `./<file of the repository>`."""

    name: str
    stage: str
    inputs: Mapping[str, str]

    def reads(self) -> dict[str, Path]:
        """Where each input lies, from the repository's root."""
        return {name: located(reference) for name, reference in self.inputs.items()}


def node(name: str, *, stage: str | None = None, **inputs: str) -> Node:
    """A node; its stage has its name unless another is given."""
    return Node(name, stage or name, MappingProxyType(inputs))


def located(reference: str) -> Path:
    """The path, from the repository's root, of what a reference names."""
    return Path(reference) if reference.startswith(OUTSIDE) else ARTIFACTS / reference


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
            stages: the declaration of each stage that a node names.
        """
        found = []
        earlier: dict[str, Stage] = {}
        for name, each in self.nodes.items():
            declared = stages[each.stage]
            fed, read = each.inputs.keys(), declared.reads.keys()
            found += [f"{name}: {each.stage} reads no {extra!r}" for extra in fed - read]
            found += [f"{name}: nothing feeds {lack!r}" for lack in read - fed]
            found += [
                f"{name}: {problem}"
                for key, reference in each.inputs.items()
                if key in declared.reads and (problem := _misfit(reference, declared.reads[key], earlier))
            ]
            earlier[name] = declared
        return found


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
