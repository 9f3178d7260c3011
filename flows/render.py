"""The graphs for DVC and the deployments for Prefect, written from the declarations of pipelines and of stages.

python -m flows.render            # write those of all pipelines of this repository: dvc.yaml, pipelines/*/dvc.yaml
python -m flows.render --check    # exit with 1 where they are not what would be written

A stage's dependencies are its inputs, the files that its parameters name, and the code that it runs: the files that its
module imports, and theirs, but for those that only watch it.
"""

import argparse
import ast
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components import params as parameters
from components.pipelines import DECLARATION, OpenPipeline, PipelineError, names, open_pipeline
from components.sections.files import files_of
from components.stage import Stage

DEPLOYMENTS, PAGE = Path("prefect.yaml"), Path("ARCHITECTURE.md")
MARKS = ("<!-- graph -->", "<!-- /graph -->")
RUNTIME = Path("components/runtime.py")  # what runs every stage
# They watch a stage or tell it where its files lie: what they do shows in run.json, MLflow and the terminal, not in
# models and figures, or stands in the stage's entry anyway. Were they dependencies, a reworded log line would retrain a
# model.
OBSERVERS = frozenset(
    f"components/{name}.py"
    for name in (
        "tracking", "mlflow_store", "store_location", "lineage", "loopback", "lineage_run", "provenance",
        "pages", "views", "progress", "metric_buffer", "figures", "stage", "pipelines", "process", "__init__",
    )
)  # fmt: skip
HEADER = """\
# Written by `python -m flows.render` from {declaration}: edit that. Its one metrics file has the headline
# figures; each stage's metrics.json has all.
stages:
"""


def imported(path: Path) -> frozenset[str]:
    """Dotted names that a file imports when it runs, wherever in it the statement stands; types alone do not count."""
    return _imported(path.resolve(), path.stat().st_mtime_ns)


@cache
def _imported(path: Path, changed: int) -> frozenset[str]:
    names: set[str] = set()
    for node in _run(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(names)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree, but for what stands below `if TYPE_CHECKING`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _run(child)


def code(*paths: Path, root: Path = Path()) -> set[str]:
    """Files of `components` that running some files executes; observers, and what they alone use, left out."""
    seen: set[str] = set()
    waiting = [root / path for path in paths]
    while waiting:
        current = waiting.pop()
        name = str(current.relative_to(root)) if current.is_relative_to(root) else str(current)
        if name in seen or name in OBSERVERS:
            continue
        seen.add(name)
        files = (Path(*dotted.split(".")).with_suffix(".py") for dotted in imported(current))
        found = (root / file if file.parts[0] == "components" else current.parent / file for file in files)
        waiting += [each for each in found if each.exists()]
    return seen


def render(pipeline: OpenPipeline, tree: Mapping[str, Any], root: Path = Path()) -> str:
    """The text of a pipeline's graph for DVC, with the parameters of its tree.

    Raises:
        ParamsError: the parameters are wrong.
    """
    params = parameters.check(dict(tree), pipeline, source=str(pipeline.params_file))
    entries = (line for node in pipeline.nodes for line in _entry(node, pipeline, params, root))
    return HEADER.format(declaration=pipeline.folder / DECLARATION) + "".join(f"{line}\n" for line in entries)


def _entry(node: str, pipeline: OpenPipeline, params: parameters.Parameters, root: Path) -> Iterator[str]:
    out, stage = pipeline.artifacts / node, pipeline.stages[node]
    which = "" if pipeline.is_default else f"--pipeline {shlex.quote(str(pipeline.folder))} "
    yield f"  {node}:"
    yield f"    cmd: python -m components.stages {which}{node}"
    if not pipeline.is_default:
        yield f"    wdir: {'/'.join('..' for _ in pipeline.graph_file.parent.parts)}"
    yield "    deps:"
    inputs = dict.fromkeys(str(path) for fed in pipeline.inputs(node).values() for path in fed.values())
    inputs |= dict.fromkeys(str(Path(name)) for name in files_of(params.sections.get(node)))
    read = [params.sections.get(node), *(params.shared.get(name) for name in stage.shared)]
    chosen = {kind.__module__.replace(".", "/") + ".py" for value in read for kind in _sections_of(value)}
    files = code(pipeline.files[node], RUNTIME, *(Path(name) for name in chosen if (root / name).exists()), root=root)
    yield from (f"    - {path}" for path in (*inputs, *sorted(files)))
    yield "    params:"
    keys = [f"- {name}" for name in pipeline.param_keys(node)]
    if pipeline.is_default:
        yield from (f"    {key}" for key in keys)
    else:
        yield f"    - {pipeline.params_file}:"
        yield from (f"      {key}" for key in keys)
    yield from _outputs(stage, out, shown=pipeline.is_default)


def _outputs(stage: Stage, out: Path, *, shown: bool) -> Iterator[str]:
    """What a node makes. `shown`: its figures and curves are DVC's metrics and plots.

    Those of pipelines beside the default one are plain outputs: `dvc metrics show` and `dvc plots show` look at every
    graph of the repository, and complain of all that was never run.
    """
    tables, others = stage.curves, [name for name in (stage.headline, stage.plots) if name]
    yield "    outs:"
    yield from (f"    - {out / made}" for made in (*stage.makes, "run.json", "metrics.json"))
    if not shown:
        yield from (f"    - {out / made}" for made in (*tables, *others))
        return
    if stage.headline:
        yield "    metrics:"
        yield f"    - {out / stage.headline}:"
        yield "        cache: false  # in git: `dvc metrics diff` then has the last commit's to compare with"
    if tables or stage.plots:
        yield "    plots:"
    for table, axes in tables.items():
        yield from (f"    - {out / table}:", f"        x: {axes.x}", f"        y: {axes.y}")
    if stage.plots:
        yield f"    - {out / stage.plots}"


def _sections_of(value: Any) -> Iterator[type]:
    """The sections that a value holds: what a parameter's `kind` names is among them."""
    if is_dataclass(value):
        yield type(value)
        for own in fields(value):
            yield from _sections_of(getattr(value, own.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _sections_of(item)


def diagram(pipeline: OpenPipeline) -> str:
    """The graph as lines of text: a node, and the nodes that feed it."""
    widest = max(map(len, pipeline.nodes))
    rows = []
    for node in pipeline.nodes:
        above = pipeline.makers(node)
        known = {name for maker in above for name in pipeline.ancestors(maker)}
        # What feeds it by way of another is left out, but for the data and the models that it names itself.
        direct = [name for name in above if name not in known]
        rows.append(f"    {node:{widest}} <- {', '.join(direct) or pipeline.data}")
    return "\n".join(rows)


def with_diagram(text: str, drawn: str) -> str:
    """A page, now `text`, with a drawing of the graph between its marks."""
    head, _, rest = text.partition(MARKS[0])
    return f"{head}{MARKS[0]}\n\n{drawn}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def deployments(pipelines: Sequence[OpenPipeline], text: str) -> str:
    """The text of prefect.yaml, now `text`, with a deployment of each pipeline and one up to each of its nodes."""
    head, opening, _ = text.partition("deployments:\n")
    common = "entrypoint: flows/lineage.py:lineage, work_pool: *pool"
    lines = []
    for each in pipelines:
        which = "" if each.is_default else f"pipeline: {each.name}"
        asked = f", parameters: {{{which}}}" if which else ""
        lines.append(f"- {{name: {each.name}, {common}{asked}, tags: [lineage]}}\n")
        for name in ("ingest", *each.nodes):
            asked = ", ".join(part for part in (which, f"until: {name}") if part)
            lines.append(f"- {{name: {each.name}-until-{name}, {common}, parameters: {{{asked}}}, tags: [stage]}}\n")
    return head + opening + "".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--pipeline", metavar="FOLDER", help="one alone, such as one that lies outside the repository")
    arguments = parser.parse_args()
    try:
        pipelines = [open_pipeline(name) for name in ([arguments.pipeline] if arguments.pipeline else names())]
        texts = {each.graph_file: render(each, parameters.read_tree(each.params_file)) for each in pipelines}
        if not arguments.pipeline:
            texts[DEPLOYMENTS] = deployments(pipelines, DEPLOYMENTS.read_text())
            texts |= {PAGE: with_diagram(PAGE.read_text(), diagram(pipelines[0]))} if PAGE.exists() else {}
    except (PipelineError, parameters.ParamsError) as error:
        sys.exit(str(error))
    for path, text in texts.items():
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path} is not what its declaration says: python -m flows.render writes it")


if __name__ == "__main__":
    main()
