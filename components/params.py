"""A pipeline's parameter file: a key that is unknown, missing or contradictory fails at load, all of them listed."""

import copy
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components import figures, yaml12
from components.sections.values import forms, merged, typed

if TYPE_CHECKING:
    from components.pipelines import OpenPipeline

PARAMS_FILE, DATA = Path("params.yaml"), Path("data")
INGEST, GATES, PRESETS = "ingest", "gates", "presets"
INGEST_STAGE = "components.stages.ingest"
Section = TypeVar("Section")
PRESETS_TYPE = dict[str, dict[str, Any]]


class ParamsError(ValueError):
    """A parameter file or an override is wrong; the message lists every problem at once."""


@dataclass(frozen=True)
class Parameters:
    """Every choice of a pipeline: each node's own section, and what several stages read, `presets` among it."""

    sections: Mapping[str, Any]
    shared: Mapping[str, Any]

    @property
    def ingest(self) -> Any:
        """Where the raw records come from; None where that is another pipeline's to say."""
        return self.shared.get(INGEST)

    @property
    def presets(self) -> dict[str, dict[str, Any]]:
        """Named sets of other values."""
        return dict(self.shared[PRESETS])


def load(pipeline: "OpenPipeline", root: Path = Path()) -> Parameters:
    """Read and check a pipeline's parameter file.

    Raises:
        ParamsError: the file is missing, no YAML, or breaks the schema; lists all problems.
    """
    path = root / pipeline.params_file
    return check(read_tree(path), pipeline, source=str(path))


def read_tree(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """The plain tree of a parameter file, before any check.

    Raises:
        ParamsError: the file is missing, no YAML mapping, or has a key twice.
    """
    try:
        tree = yaml12.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} not found: run from the root of the repository") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8: byte {error.start} cannot be read") from None
    except yaml12.YamlProblem as error:
        raise ParamsError(f"{path} cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} must hold a mapping of sections")
    return tree


def parse_value(text: str) -> Any:
    """The value of an override such as `ppo.kl_coef=1e-2`, read as it would be in the file.

    Raises:
        ParamsError: it is no YAML.
    """
    try:
        return yaml12.load(text)
    except yaml12.YamlProblem as error:
        raise ParamsError(f"{text!r} is not YAML: {error}. Put a text in quotes") from None


def write_tree(tree: dict[str, Any], path: Path) -> None:
    """Write a parameter file that `read_tree` reads back as the same tree."""
    path.write_text(yaml12.dump(tree), encoding="utf-8")


def check(tree: dict[str, Any], pipeline: "OpenPipeline", *, source: str) -> Parameters:
    """The typed parameters of a pipeline.

    Raises:
        ParamsError: lists every unknown, missing, unused, ill-typed and contradictory key, those of presets included.
    """
    problems: list[str] = []
    shared_types = _shared_types(pipeline, tree)
    sections = {
        node: typed(stage.section, node, merged(tree, pipeline.sections(node)), problems)
        for node, stage in pipeline.stages.items()
        if stage.section is not None and _is_there(tree, pipeline, node, problems)
    }
    shared = {name: typed(kind, name, tree.get(name), problems, name in tree) for name, kind in shared_types.items()}
    problems += _contradictions(shared, pipeline)
    problems += _unwired(sections, shared, pipeline)
    if all(sections.get(node) is not None for node in pipeline.judges):
        problems += figures.problems(pipeline, sections, shared.get(GATES) or {})
    used = {name for node in pipeline.nodes for name in pipeline.sections(node)} | shared_types.keys()
    problems += [f"{name}: nothing in this pipeline reads it" for name in tree if name not in used]
    problems += _unknown_in_presets(tree, pipeline)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ParamsError(f"{source} has {len(problems)} problem(s):\n{listed}")
    return Parameters(sections, shared)


def of_node(tree: dict[str, Any], pipeline: "OpenPipeline", node: str) -> tuple[Any, dict[str, Any]]:
    """A node's own section, and the shared ones that its stage declares; what else the file holds is not looked at.

    Raises:
        ParamsError: lists every problem of these sections.
    """
    problems: list[str] = []
    stage = pipeline.stages[node]
    own = None
    if stage.section is not None and _is_there(tree, pipeline, node, problems):
        own = typed(stage.section, node, merged(tree, pipeline.sections(node)), problems)
    types = {key.partition(".")[0]: kind for key, kind in stage.shared.items()}
    shared = {name: typed(kind, name, tree.get(name), problems, name in tree) for name, kind in types.items()}
    if problems:
        raise ParamsError(f"{pipeline.params_file}: " + "; ".join(problems))
    return own, shared


def sections_of(tree: dict[str, Any], pipeline: "OpenPipeline", nodes: Iterable[str]) -> dict[str, Any]:
    """The own sections of some nodes.

    Raises:
        ParamsError: of the first that has a problem.
    """
    found: dict[str, Any] = {}
    for node in nodes:
        problems: list[str] = []
        if _is_there(tree, pipeline, node, problems):
            own = merged(tree, pipeline.sections(node))
            found[node] = typed(pipeline.stages[node].section, node, own, problems)
        if problems:
            raise ParamsError(f"{pipeline.params_file}: " + "; ".join(problems))
    return found


def of_section(tree: dict[str, Any], name: str, kind: type[Section], *, source: str) -> Section:
    """One section of a parameter file, whatever else the file holds.

    Raises:
        ParamsError: lists every problem of this section.
    """
    problems: list[str] = []
    found: Section = typed(kind, name, tree.get(name), problems, name in tree)
    if problems:
        raise ParamsError(f"{source}: " + "; ".join(problems))
    return found


def _is_there(tree: Mapping[str, Any], pipeline: "OpenPipeline", node: str, problems: list[str]) -> bool:
    """Whether the sections that a node reads are in the file, even if empty: DVC has to see them."""
    lacking = [name for name in pipeline.sections(node) if not isinstance(tree.get(name), Mapping)]
    general = pipeline.nodes[node].base
    for name in lacking:
        hint = f"; `{name}: {{}}` has all values of {general}" if name != general else ""
        what = "is no mapping of keys" if tree.get(name) is not None else "is missing"
        if (said := f"{name}: the section {what}{hint}") not in problems:
            problems.append(said)
    return not lacking


def _shared_types(pipeline: "OpenPipeline", tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that are not one node's, with their types."""
    declared = (pair for stage in pipeline.stages.values() for pair in stage.shared.items())
    types = {key.partition(".")[0]: kind for key, kind in declared}
    if INGEST in tree or pipeline.is_default or pipeline.data != DATA:
        types[INGEST] = importlib.import_module(INGEST_STAGE).Ingest
    return types | {PRESETS: PRESETS_TYPE}


def _contradictions(shared: Mapping[str, Any], pipeline: "OpenPipeline") -> Iterator[str]:
    for found in shared.values():
        if hasattr(found, "contradictions"):
            yield from found.contradictions(shared)
    for node in shared.get(GATES) or ():
        if node not in pipeline.models:
            yield f"{GATES}.{node}: no node of this pipeline makes a model of that name"


def _unwired(sections: Mapping[str, Any], shared: Mapping[str, Any], pipeline: "OpenPipeline") -> Iterator[str]:
    """What the values that a node reads ask for and the pipeline does not feed it, or feeds it in vain."""
    for node, own in sections.items():
        read = dict.fromkeys(key.partition(".")[0] for key in pipeline.stages[node].shared)
        for name, found in ((node, own), *((name, shared.get(name)) for name in read)):
            if hasattr(found, "unwired"):
                yield from (f"{name}.{problem}" for problem in found.unwired(pipeline.nodes[node]))


def _unknown_in_presets(tree: dict[str, Any], pipeline: "OpenPipeline") -> Iterator[str]:
    """The keys of presets that no form of the file has; their values are checked when a preset is used."""
    presets = tree.get(PRESETS)
    for name, changes in presets.items() if isinstance(presets, dict) else ():
        for dotted in changes if isinstance(changes, dict) else ():
            if not _is_parameter(str(dotted).split("."), pipeline, tree):
                yield f"{PRESETS}.{name}: no such parameter: {dotted}"


def _is_parameter(keys: list[str], pipeline: "OpenPipeline", tree: Mapping[str, Any]) -> bool:
    types = _shared_types(pipeline, tree)
    types |= {name: stage.section for node, stage in pipeline.stages.items() for name in pipeline.sections(node)}
    if keys[0] not in types:
        return False
    kinds = list(forms(types[keys[0]]))
    for key in keys[1:]:
        found = [field.type for kind in kinds for field in fields(kind) if field.name == key]
        if not found:
            return False
        kinds = [form for kind in found for form in forms(kind)]
    return True


def override(
    tree: dict[str, Any], changes: Mapping[str, Any], pipeline: "OpenPipeline | None" = None
) -> dict[str, Any]:
    """A copy of the tree with dotted keys replaced.

    With a pipeline, a node's own section takes any key that its stage has, though it only holds what differs.

    Raises:
        ParamsError: lists every key that the tree does not have.
    """
    result = copy.deepcopy(tree)
    unknown = []
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        partial = pipeline is not None and _is_partial(dotted.split("."), pipeline, tree)
        node: Any = result
        for key in parents:
            if partial and isinstance(node, dict):
                node.setdefault(key, {})
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and (leaf in node or partial):
            node[leaf] = value
        else:
            unknown.append(dotted)
    if unknown:
        raise ParamsError(f"no such parameter: {', '.join(unknown)}. Keys are section.key, as in {PARAMS_FILE}")
    return result


def _is_partial(keys: list[str], pipeline: "OpenPipeline", tree: Mapping[str, Any]) -> bool:
    """Whether keys are a parameter of a node whose section only holds what differs from a general one."""
    own = keys[0] in tree and keys[0] in pipeline.nodes and pipeline.nodes[keys[0]].base != keys[0]
    return own and _is_parameter(keys, pipeline, tree)
