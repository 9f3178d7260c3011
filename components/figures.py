"""Which figures a pipeline's evaluations make: what its gates may ask for, and what its lineages are known by.

Both follow from the tasks of its evaluating nodes and from what those are fed. No stage's output depends on this.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from components.pipelines import OpenPipeline
    from components.tasks.task import Task


class Headline(NamedTuple):
    """A figure of an evaluation's metrics.json by its dotted path, and what it is in words."""

    figure: str
    words: str

    @property
    def metric(self) -> str:
        """Its name in MLflow."""
        return self.figure.replace(".", "/")


def headlines(tasks: Sequence["Task"], fed: Mapping[str, Sequence[str]]) -> list[Headline]:
    """What a lineage is known by, subject by subject in the order in which they first occur."""
    found = [line for task in tasks for line in task.known_by(fed)]
    order = [*fed.get("models", ()), *(subject for subject, _, _ in found)]
    found.sort(key=lambda line: order.index(line[0]))
    return [Headline(f"{subject}.{leaf}", f"{subject}, {words}") for subject, leaf, words in found]


def patterns(tasks: Sequence["Task"], fed: Mapping[str, Sequence[str]]) -> list[str]:
    """The figures that tasks may make, by dotted path; * and [1-9] as in names of files."""
    return [f"{subject}.{leaf}" for task in tasks for subject in task.subjects(fed) for leaf in task.leaves]


def of_pipeline(pipeline: "OpenPipeline", sections: Mapping[str, Any]) -> list[Headline]:
    """The headlines of all evaluating nodes; `sections` are the nodes' own parameters.

    A figure that several make is the first one's, as it is in `components.lineage.read_evaluation`.
    """
    known: dict[str, Headline] = {}
    for node in pipeline.judges:
        for line in headlines(sections[node].tasks, pipeline.fed(node)):
            known.setdefault(line.figure, line)
    return list(known.values())


def problems(pipeline: "OpenPipeline", sections: Mapping[str, Any], gates: Mapping[str, Any]) -> Iterator[str]:
    """What evaluations lack that they measure with, and bounds on figures that nothing makes."""
    known: dict[str, list[str]] = {}
    for node in pipeline.judges:
        fed = pipeline.fed(node)
        if not fed["models"]:
            yield f"{node}: nothing feeds models to it"
        for name in ("plain", "reference"):
            if strange := [each for each in fed[name] if each not in fed["models"]]:
                yield f"{node}: {name} has {', '.join(strange)}, which is not among its models"
        if several := [name for name in ("prompts", "tokens", "demonstrations") if len(fed[name]) > 1]:
            yield f"{node}: {', '.join(several)} are fed by more than one node"
        if fed["labeler"] and not fed["demonstrations"]:
            yield f"{node}: what a labeler likes is measured by demonstrations, which nothing feeds to the node"
        for task in sections[node].tasks:
            lacking = [name for name in task.needs if not fed[name]]
            if lacking:
                yield f"{node}.tasks: {task.kind} needs {', '.join(lacking)}, which nothing feeds to the node {node}"
        for task in sections[node].tasks:
            yield from (
                f"{node}.tasks: {task.kind} names {name}, which feeds nothing to it" for name in task.unfed(fed)
            )
        made = known[node] = patterns(sections[node].tasks, fed)
        if twice := sorted({each for each in made if made.count(each) > 1}):
            yield f"{node}.tasks: two of them make the figure {twice[0]}: give each a kind or a name of its own"
    judge = {name: node for node in pipeline.judges for name in pipeline.judged(node)}
    for node, bounds in gates.items():
        if node in pipeline.models and node not in judge:
            yield f"gates.{node}: no evaluating node is fed its model"
        for place, gate in enumerate(bounds if node in judge else ()):
            made = known[judge[node]]
            if not any(fnmatchcase(gate.metric, pattern) for pattern in made):
                alike = [name for name in made if name.split(".")[0] == gate.metric.split(".")[0]]
                yield (
                    f"gates.{node}.{place}: {judge[node]} makes no figure {gate.metric!r}; there are "
                    f"{', '.join(alike or made) or 'none'}"
                )
