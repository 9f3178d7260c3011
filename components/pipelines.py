"""Pipelines as files: a declaration in a folder, and where its parameters, graph, outputs and models are.

The default pipeline keeps `dvc.yaml`, `params.yaml` and `artifacts/<node>/` at the root of the repository. Any other
has them below `pipelines/<name>/` and `artifacts/<name>/`; its declaration and parameters may lie elsewhere.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from components.stage import OUTSIDE, Kind, Node, Pipeline, Stage

ARTIFACTS, PIPELINES, DATA = Path("artifacts"), Path("pipelines"), Path("data")
DEFAULT = "default"
DECLARATION, PARAMS_FILE, GRAPH = "pipeline.py", "params.yaml", "dvc.yaml"
STAGES = "components.stages"


class PipelineError(ValueError):
    """A pipeline cannot be opened; the message names it and what is wrong."""


@dataclass(frozen=True)
class OpenPipeline:
    """A pipeline with its place and its stages; paths start at the root of the repository.

    Attributes:
        name: of its folder.
        folder: with its declaration; absolute where it lies outside the repository.
        nodes: by name, in the order in which they can run.
        stages: the declaration of each node's stage, by the node's name.
        files: the module of each node's stage, by the node's name.
    """

    name: str
    folder: Path
    nodes: Mapping[str, Node]
    stages: Mapping[str, Stage]
    files: Mapping[str, Path]

    @property
    def asked_by(self) -> str:
        """What `--pipeline` names it by."""
        return str(self.folder) if self.folder.is_absolute() else self.name

    @property
    def is_default(self) -> bool:
        """Whether its files are those at the root."""
        return self.name == DEFAULT

    @property
    def params_file(self) -> Path:
        """Its parameters."""
        return Path(PARAMS_FILE) if self.is_default else self.folder / PARAMS_FILE

    @property
    def graph_file(self) -> Path:
        """Its graph for DVC, always within the repository."""
        return Path(GRAPH) if self.is_default else PIPELINES / self.name / GRAPH

    @property
    def artifacts(self) -> Path:
        """Where its nodes write."""
        return ARTIFACTS if self.is_default else ARTIFACTS / self.name

    @property
    def data(self) -> Path:
        """The raw records that it reads, which ingest brings."""
        records = (
            Path(reference)
            for name, node in self.nodes.items()
            for key, reference in node.references()
            if reference.startswith(OUTSIDE) and self.stages[name].reads[key] == Kind.RECORDS
        )
        return next(records, DATA)

    @property
    def labels(self) -> dict[str, Path]:
        """Where the labels lie that nodes read, a folder a round, by node."""
        return {
            name: Path(reference)
            for name, node in self.nodes.items()
            for key, reference in node.references()
            if self.stages[name].reads[key] == Kind.LABELS and reference.startswith(OUTSIDE)
        }

    @property
    def pointer(self) -> Path:
        """What DVC knows of the raw records."""
        return self.data.with_name(f"{self.data.name}.dvc")

    def within(self) -> "OpenPipeline":
        """The same pipeline as it is after its folder, if that lies elsewhere, was copied into the repository."""
        if not self.folder.is_absolute():
            return self
        place = PIPELINES / self.name
        moved = {
            node: place / file.relative_to(self.folder) if file.is_absolute() else file
            for node, file in self.files.items()
        }
        return replace(self, folder=place, files=moved)

    def address(self, node: str = "") -> str:
        """What DVC calls a node, or the whole pipeline."""
        file = "" if self.is_default else str(self.graph_file)
        return ":".join(part for part in (file, node) if part) or GRAPH

    def located(self, reference: str) -> Path:
        """Where what a reference names lies."""
        return Path(reference) if reference.startswith(OUTSIDE) else self.artifacts / reference

    def inputs(self, node: str) -> dict[str, dict[str, Path]]:
        """Where what feeds each input of a node lies, by the node that made it; files of the repository by themselves.

        Of several artifacts of one node, as of one in a single input, the last counts.
        """
        found: dict[str, dict[str, Path]] = {name: {} for name in self.stages[node].reads}
        for name, reference in self.nodes[node].references():
            maker = reference if reference.startswith(OUTSIDE) else reference.partition("/")[0]
            found[name][maker] = self.located(reference)
        return found

    def fed(self, node: str) -> dict[str, list[str]]:
        """The nodes that feed each input of a node."""
        return {name: list(found) for name, found in self.inputs(node).items()}

    def makers(self, node: str) -> list[str]:
        """The nodes that a node is fed by, in the order of its inputs."""
        references = (reference for _, reference in self.nodes[node].references())
        return list(dict.fromkeys(r.partition("/")[0] for r in references if not r.startswith(OUTSIDE)))

    def ancestors(self, node: str) -> list[str]:
        """The nodes whose outputs a node uses, directly or not, in the pipeline's order."""
        found: set[str] = set()
        waiting = [node]
        while waiting:
            above = set(self.makers(waiting.pop())) - found
            found |= above
            waiting += above
        return [name for name in self.nodes if name in found]

    @property
    def models(self) -> list[str]:
        """The nodes that register a model."""
        return [name for name, stage in self.stages.items() if stage.model]

    def parents(self, node: str) -> list[str]:
        """The nodes whose models a node's model is made from."""
        return self._models_fed(node) if node in self.nodes and self.stages[node].model else []

    def _models_fed(self, node: str) -> list[str]:
        """The nodes whose registered models a node is fed."""
        fed = (reference.partition("/") for _, reference in self.nodes[node].references())
        return list(dict.fromkeys(maker for maker, _, path in fed if path == "model" and maker in self.models))

    @property
    def judges(self) -> list[str]:
        """The nodes that evaluate, and open and close gates."""
        return [name for name, stage in self.stages.items() if "gates" in stage.shared]

    def judged(self, judge: str) -> list[str]:
        """The nodes whose gates an evaluating node opens and closes: their models are fed to none before it."""
        earlier = {name for each in self.judges[: self.judges.index(judge)] for name in self._models_fed(each)}
        return [name for name in self._models_fed(judge) if name not in earlier]

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer that the pipeline trains."""
        made = (
            self.artifacts / node / path
            for node, stage in self.stages.items()
            for path, kind in stage.makes.items()
            if kind == Kind.TOKENIZER
        )
        return next(made, None)

    def model_name(self, node: str) -> str:
        """Under which name MLflow has a node's models."""
        return f"gpt-{node}" if self.is_default else f"{self.name}-{node}"

    def sections(self, node: str) -> list[str]:
        """The sections of the parameter file that make up a node's own, the general one first."""
        each = self.nodes[node]
        return list(dict.fromkeys((each.base, node))) if self.stages[node].section else []

    def param_keys(self, node: str) -> list[str]:
        """What a node reads of the parameter file: sections, or keys of them."""
        return sorted([*self.sections(node), *self.stages[node].shared])


def open_pipeline(which: str | Path = DEFAULT, root: Path = Path()) -> OpenPipeline:
    """The pipeline of a name, or of a folder with a `pipeline.py`; its stages are imported, and torch is not.

    Raises:
        PipelineError: there is none, or its nodes do not fit together; all problems are listed.
    """
    folder = root / PIPELINES / which if (root / PIPELINES / which / DECLARATION).exists() else root / which
    path = folder / DECLARATION
    if not path.exists():
        raise PipelineError(
            f"no pipeline {str(which)!r}: neither {PIPELINES / which / DECLARATION} nor {Path(which) / DECLARATION} is "
            f"there; there are {', '.join(names(root)) or 'none'}"
        )
    inside = folder.resolve().is_relative_to(root.resolve() / PIPELINES)
    if taken := _taken(folder.resolve().name, root, inside=inside):
        raise PipelineError(f"{folder} cannot be a pipeline of that name: {taken}. Rename the folder")
    pipeline = getattr(_load(path), "PIPELINE", None)
    if not isinstance(pipeline, Pipeline):
        raise PipelineError(f"{path} declares no PIPELINE")
    place = PIPELINES / folder.name if inside else folder.resolve()
    files = {name: _stage_file(each, folder, root) for name, each in pipeline.nodes.items()}
    stages = {name: _stage(each, files[name]) for name, each in pipeline.nodes.items()}
    if problems := pipeline.problems(stages):
        raise PipelineError(f"{path} does not fit together:\n" + "\n".join(f"  {problem}" for problem in problems))
    return OpenPipeline(folder.resolve().name, place, pipeline.nodes, stages, files)


def _taken(name: str, root: Path, *, inside: bool) -> str | None:
    """Whose graph or outputs a pipeline of this name would write over, or None."""
    if not inside and name in names(root):
        return f"{PIPELINES / name} is another one, and has its graph there"
    default = root / PIPELINES / DEFAULT / DECLARATION
    if name != DEFAULT and default.exists() and name in _load(default).PIPELINE.nodes:
        return f"{ARTIFACTS / name} is where the default pipeline's node of that name writes"
    return None


def names(root: Path = Path()) -> list[str]:
    """The pipelines of a repository, the default one first."""
    found = sorted(path.parent.name for path in (root / PIPELINES).glob(f"*/{DECLARATION}"))
    return sorted(found, key=lambda name: name != DEFAULT)


def _load(path: Path) -> ModuleType:
    """A module by its file, since two pipelines may call theirs alike."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PipelineError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _stage_file(each: Node, folder: Path, root: Path) -> Path:
    """The module of a node's stage: one of this project's, or one beside the pipeline, whose folder then is searched.

    Raises:
        PipelineError: there is none.
    """
    own = Path(*STAGES.split("."), f"{each.stage}.py")
    if (root / own).exists():
        return own
    beside = folder.resolve() / Path(*each.stage.split(".")).with_suffix(".py")
    if not beside.exists():
        raise PipelineError(f"node {each.name}: no stage {each.stage!r}: neither {own} nor {beside} is there")
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))
    inside = beside.is_relative_to(root.resolve())
    return beside.relative_to(root.resolve()) if inside else beside


def _stage(each: Node, file: Path) -> Stage:
    own = file.parent == Path(*STAGES.split("."))
    module = importlib.import_module(f"{STAGES}.{each.stage}" if own else each.stage)
    stage = getattr(module, "STAGE", None)
    if not isinstance(stage, Stage):
        raise PipelineError(f"node {each.name}: {file} declares no STAGE")
    return stage
