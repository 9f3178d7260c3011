"""dvc.yaml and the deployments of prefect.yaml, written from the declaration of the pipeline and of its stages.

python -m flows.render            # write them
python -m flows.render --check    # exit with 1 where they are not what would be written

A stage's dependencies are its inputs and the code that it runs: the files that its module imports, and theirs, but for
those that only watch it.
"""

import argparse
import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from components.stage import ARTIFACTS, Node, Pipeline, Stage

GRAPH, DEPLOYMENTS = Path("dvc.yaml"), Path("prefect.yaml")
# They watch a stage or tell it where its files lie: what they do shows in run.json, MLflow and the terminal, not in
# models and figures, or stands in the stage's entry anyway. Were they dependencies, a reworded log line would retrain a
# model.
OBSERVERS = frozenset(
    f"components/{name}.py"
    for name in (
        "tracking", "mlflow_store", "store_location", "lineage", "loopback", "lineage_run", "provenance", "headlines",
        "pages", "views", "progress", "metric_buffer", "figures", "stage", "__init__",
    )
)  # fmt: skip
HEADER = """\
# The only graph, written by `python -m flows.render` from pipelines/default/pipeline.py: edit that. Its one metrics
# file has the headline figures; each stage's metrics.json has all.
stages:
"""


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def code(path: Path, root: Path = Path()) -> set[str]:
    """Files of `components` that running a file executes; observers, and what they alone use, left out."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        name = str(current.relative_to(root))
        if name in seen or name in OBSERVERS:
            continue
        seen.add(name)
        found = (
            root / (dotted.replace(".", "/") + ".py") for dotted in imported(current) if dotted.startswith("components")
        )
        waiting += [each for each in found if each.exists()]
    return seen


def declarations(pipeline: Pipeline) -> dict[str, Stage]:
    """What the stages of a pipeline declare about themselves. Imports them, and torch with them."""
    return {
        each.stage: importlib.import_module(f"components.stages.{each.stage}").STAGE for each in pipeline.nodes.values()
    }


def render(pipeline: Pipeline, root: Path = Path()) -> str:
    """The text of dvc.yaml.

    Raises:
        ValueError: nodes do not fit together; all problems are listed.
    """
    stages = declarations(pipeline)
    problems = pipeline.problems(stages)
    if problems:
        raise ValueError("\n".join(problems))
    return HEADER + "".join(
        f"{line}\n" for each in pipeline.nodes.values() for line in _entry(each, stages[each.stage], root)
    )


def _entry(each: Node, stage: Stage, root: Path) -> Iterator[str]:
    out = ARTIFACTS / each.name
    yield f"  {each.name}:"
    yield f"    cmd: python -m components.stages {each.name}"
    yield "    deps:"
    inputs = dict.fromkeys(str(path) for path in each.reads().values())
    yield from (f"    - {path}" for path in (*inputs, *sorted(code(root / f"components/stages/{each.stage}.py", root))))
    yield "    params:"
    yield from (f"    - {name}" for name in stage.params)
    yield "    outs:"
    yield from (f"    - {out / made}" for made in (*stage.makes, "run.json", "metrics.json"))
    if stage.headline:
        yield "    metrics:"
        yield f"    - {out / stage.headline}:"
        yield "        cache: false  # in git: `dvc metrics diff` then has the last commit's to compare with"
    if stage.curves or stage.plots:
        yield "    plots:"
    for table, axes in stage.curves.items():
        yield from (f"    - {out / table}:", f"        x: {axes.x}", f"        y: {axes.y}")
    if stage.plots:
        yield f"    - {out / stage.plots}"


def deployments(pipeline: Pipeline, text: str) -> str:
    """The text of prefect.yaml, now `text`, with a deployment of the whole pipeline and one up to each stage."""
    head, opening, _ = text.partition("deployments:\n")
    common = "entrypoint: flows/lineage.py:lineage, work_pool: *pool"
    stages = (
        f"- {{name: up-to-{name}, {common}, parameters: {{until: {name}}}, tags: [stage]}}\n"
        for name in ("ingest", *pipeline.nodes)
    )
    return head + opening + f"- {{name: whole-road, {common}, tags: [lineage]}}\n" + "".join(stages)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    pipeline: Pipeline = importlib.import_module("pipelines.default.pipeline").PIPELINE
    try:
        texts = {GRAPH: render(pipeline), DEPLOYMENTS: deployments(pipeline, DEPLOYMENTS.read_text())}
    except ValueError as error:
        sys.exit(f"the pipeline cannot be rendered:\n{error}")
    for path, text in texts.items():
        if not arguments.check:
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path} is not what its declaration says: python -m flows.render writes it")


if __name__ == "__main__":
    main()
