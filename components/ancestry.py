"""All that the store and the declarations tell of models: pipelines, versions with their parents, lineages."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from components import mlflow_store as store
from components.pages import GATE, WEIGHTS_TAG
from components.pipelines import OpenPipeline, PipelineError, names, open_pipeline
from components.stage import Kind

LINEAGES = 100  # runs of lineages that are looked at, the newest
SCHEME = "models:/"


@dataclass(frozen=True)
class Step:
    """A node of a pipeline: the nodes that feed it, and the name of the model that it registers, if any."""

    name: str
    stage: str
    makers: tuple[str, ...]
    model: str | None


@dataclass(frozen=True)
class Version:
    """A registered version; `figures` are those by which its newest lineage knows it."""

    id: str
    name: str
    version: str
    aliases: tuple[str, ...]
    created: int
    pipeline: str
    node: str
    parents: tuple[str, ...]
    gate: str | None
    bounds: str
    figures: Mapping[str, float]
    weights_sha256: str
    commit: str
    data: str
    run_id: str


@dataclass(frozen=True)
class LineageRun:
    """A run of a pipeline: its verdicts, and the version that each of its nodes made or kept."""

    run_id: str
    name: str
    pipeline: str
    started: int
    status: str
    gates: str
    models: tuple[str, ...]
    flow_run: str | None


def pipelines(root: Path) -> dict[str, list[Step]]:
    """The pipelines of a repository; one that cannot be read is told by what runs it."""
    found = {}
    for name in names(root):
        with contextlib.suppress(PipelineError):
            pipeline = open_pipeline(name, root)
            found[name] = [_step(pipeline, node) for node in pipeline.nodes]
    return found


def _step(pipeline: OpenPipeline, node: str) -> Step:
    model = pipeline.model_name(node) if node in pipeline.models else None
    return Step(node, pipeline.nodes[node].stage, tuple(pipeline.makers(node)), model)


@lru_cache
def scorers(root: Path) -> frozenset[str]:
    """Names of the models that score or classify and write no replies."""
    found = set()
    for name in names(root):
        with contextlib.suppress(PipelineError):
            pipeline = open_pipeline(name, root)
            silent = (n for n in pipeline.models if pipeline.stages[n].model != Kind.LANGUAGE_MODEL)
            found |= set(map(pipeline.model_name, silent))
    return frozenset(found)


def registry() -> tuple[str, list[Version], list[LineageRun]]:
    """The experiment, every registered version, the newest first, and the newest lineages.

    Raises:
        StoreError: MLflow cannot keep a store where the repository lies.
        MlflowException: the server is down or refuses.
    """
    client, experiment = store.connect()
    runs = client.search_runs([experiment], "tags.kind = 'lineage'", max_results=LINEAGES,
                              order_by=["attributes.start_time DESC"])  # fmt: skip
    figures: dict[str, dict[str, float]] = {}
    for run in runs:
        for node, model in _made(run.data.tags):
            own = {name: value for name, value in run.data.metrics.items() if name.startswith(f"{node}/")}
            figures.setdefault(model, own)
    aliases: dict[str, list[str]] = {}
    for model in _all(client.search_registered_models):
        for alias, version in model.aliases.items():
            aliases.setdefault(f"{model.name}/{version}", []).append(alias)
    versions = [_version(each, aliases, figures) for each in _all(client.search_model_versions)]
    versions.sort(key=lambda each: (-each.created, each.name, -int(each.version)))
    return experiment, versions, [_lineage(run) for run in runs]


def _made(tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Nodes of a lineage and the versions that they made, `gpt-ppo/3`."""
    for key, value in tags.items():
        if key.startswith("stage.") and key.endswith(".model") and value.startswith(SCHEME):
            yield key.removeprefix("stage.").removesuffix(".model"), value.removeprefix(SCHEME)


def _version(found: Any, aliases: Mapping[str, list[str]], figures: Mapping[str, dict[str, float]]) -> Version:
    tags, name = found.tags, f"{found.name}/{found.version}"
    parents = [f"{tags[key]}/{tags.get(key.removesuffix('.model') + '.version', '?')}"
               for key in sorted(tags) if key.startswith("parent.") and key.endswith(".model")]  # fmt: skip
    return Version(
        id=name, name=found.name, version=str(found.version), aliases=tuple(sorted(aliases.get(name, ()))),
        created=int(found.creation_timestamp) // 1000, pipeline=tags.get("pipeline", ""), node=tags.get("node", ""),
        parents=tuple(parents), gate=tags.get(GATE), bounds=tags.get("gate.bounds", ""),
        figures=figures.get(name, {}), weights_sha256=tags.get(WEIGHTS_TAG, ""), commit=tags.get("git.commit", ""),
        data=tags.get("data.digest", ""), run_id=found.run_id or tags.get("run_id", ""),
    )  # fmt: skip


def _lineage(run: Any) -> LineageRun:
    tags = run.data.tags
    return LineageRun(
        run.info.run_id, run.info.run_name or "", tags.get("pipeline", ""), int(run.info.start_time) // 1000,
        run.info.status, tags.get("gates", ""), tuple(model for _, model in _made(tags)),
        tags.get("prefect.flow_run") or None,
    )  # fmt: skip


def _all(search: Any) -> Iterator[Any]:
    page = search()
    yield from page
    while page.token:
        page = search(page_token=page.token)
        yield from page
