"""The store of runs and models: every call that needs MLflow's own types. The only import of mlflow."""

import contextlib
import getpass
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.types.schema import ParamSchema, ParamSpec

from components import params as parameters
from components import store_location, yaml12
from components.data.digests import recorded_md5
from components.figures import Headline, of_pipeline
from components.lineage import StageRecord
from components.loopback import spare_loopback
from components.metric_buffer import Point
from components.pipelines import OpenPipeline, PipelineError, names, open_pipeline
from components.provenance import resolved, stage_params, uncommitted
from components.serving_input import Options
from components.store_location import StoreError, tracking_uri
from components.views import missing_tags

__all__ = ["StoreError", "tracking_uri"]
logger = logging.getLogger(__name__)

EXPERIMENT = "gptlineage"
TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_CONNECTING = threading.Lock()  # a flow connects ahead in a thread; two would make a new database at once
VALUE_LIMIT = 5000  # characters of a parameter that MLflow accepts, with room to spare
PARAMS_ARTIFACT, DIFF_ARTIFACT = "params.yaml", "uncommitted.diff"
TAG_LIMIT = 8000  # characters of a run's tag
BATCH_LIMIT = 100  # parameters of one request
SERVING_REQUIREMENTS = ("torch==2.13.0", "safetensors==0.8.0", "tokenizers==0.23.3", "numpy>=2,<3", "mlflow==3.17.2")
# What a version is served with: each field of `Options` with its default.
SAMPLING_PARAMS = ParamSchema(
    [ParamSpec(name, "double" if type(value) is float else "long", value) for name, value in vars(Options()).items()]
)


BadAnswer = mlflow.MlflowException  # a server that is down or refuses


class BadRequest(mlflow.MlflowException, ValueError):
    """What a served model was asked is wrong: its server answers 400 and the message, where others get a traceback."""

    def __init__(self, message: str) -> None:
        mlflow.MlflowException.__init__(self, message, BAD_REQUEST)


def connect() -> tuple[MlflowClient, str]:
    """A client and the id of the lineage experiment, made where it is missing.

    Raises:
        StoreError: MLflow cannot keep a store where the repository lies.
        MlflowException: the server is down or refuses.
    """
    with _CONNECTING:
        spare_loopback()
        for name, value in TIMEOUTS.items():  # a server that is down must cost seconds, not MLflow's default of minutes
            os.environ.setdefault(name, value)
        uri, database = store_location.ready()
        mlflow.set_tracking_uri(uri)
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            location = store_location.artifacts_of(database) if database else None
            return client, client.create_experiment(
                EXPERIMENT, artifact_location=location, tags=missing_tags({}, _headlines())
            )
        for name, value in missing_tags(experiment.tags, _headlines()).items():
            client.set_experiment_tag(experiment.experiment_id, name, value)
        return client, experiment.experiment_id


@lru_cache(maxsize=1)
def _headlines() -> list[Headline]:
    """What lineages of this code's pipelines are known by; one that cannot be read is told by what runs it."""
    root, found = Path(__file__).parents[1], []
    for name in names(root):
        with contextlib.suppress(PipelineError, parameters.ParamsError):
            pipeline = open_pipeline(name, root)
            tree = parameters.read_tree(root / pipeline.params_file)
            found += of_pipeline(pipeline, parameters.sections_of(tree, pipeline, pipeline.judges))
    return list(dict.fromkeys(found))


def log_model(run_id: str, node: str, name: str, folder: Path, *, talks: bool) -> str:
    """Attach a model folder to a node's run and register it as a new version under a name; the version.

    talks: whether it replies to messages, and so takes sampling options.
    """
    with mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name=node,
            loader_module="components.serving",
            data_path=str(folder),
            code_paths=["components"],
            pip_requirements=list(SERVING_REQUIREMENTS),
            registered_model_name=name,
            signature=ModelSignature(params=SAMPLING_PARAMS) if talks else None,
        )
    return str(info.registered_model_version)


def register_prompt(name: str, text: str, note: str | None, tags: dict[str, str]) -> int:
    """A new version of a prompt, which MLflow shows in the lineages' experiment; its number."""
    client, experiment = connect()
    mlflow.set_experiment(experiment_id=experiment)
    return int(client.register_prompt(name, text, commit_message=note, tags=tags).version)


def run_or_none(client: MlflowClient, run_id: str) -> Run | None:
    """A run; None where the store has none of that id, as after `mlflow gc`."""
    try:
        return client.get_run(run_id)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def download_model(uri: str) -> Path | None:
    """Local folder of a registered model's files, by its address, such as `models:/gpt-ppo@champion`; None if none."""
    try:
        connect()
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    except (mlflow.MlflowException, OSError) as error:
        logger.info("%s: %s", uri, error)
        return None
    # A model that is not this project's has no such folder; whoever loads it says so.
    return next((path for path in folder.glob("data/*") if path.is_dir()), folder)


def log_inputs(
    client: MlflowClient,
    run_id: str,
    tree: Mapping[str, Any],
    pipeline: OpenPipeline,
    node: str | None = None,
    pointer: Path | None = None,
) -> None:
    """Parameters that matter to a node, or to a lineage all; all of them as a file; data version; uncommitted code."""
    leaves = stage_params(node, tree, pipeline) if node else resolved(tree)
    params = [Param(key, value[:VALUE_LIMIT]) for key, value in leaves.items()]
    for start in range(0, len(params), BATCH_LIMIT):
        client.log_batch(run_id, params=params[start : start + BATCH_LIMIT])
    in_force = {key: value for key, value in tree.items() if key != "presets"}
    client.log_text(run_id, yaml12.dump(in_force), PARAMS_ARTIFACT)
    if client.get_run(run_id).data.tags.get("git.commit", "").endswith("+"):
        client.log_text(run_id, uncommitted(), DIFF_ARTIFACT)
    digest = recorded_md5(pointer or pipeline.pointer)
    if digest is not None:
        source = json.dumps({"uri": str(pipeline.pointer)})
        dataset = Dataset(name="data", digest=digest, source_type="local", source=source)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def log_study(name: str, folder: Path, tags: Mapping[str, Any]) -> None:
    """A finished run that holds a study's table and plot; a store that cannot be reached is said, and ends nothing."""
    try:
        client, experiment = connect()
        about = {"kind": "study"} | {key: str(value) for key, value in tags.items()}
        run = client.create_run(experiment, run_name=f"study {name}", tags=about)
        client.log_artifacts(run.info.run_id, str(folder))
        client.set_terminated(run.info.run_id)
    except Exception as error:  # MLflow raises its own, sqlite's, requests' and OS errors
        logger.warning("tracking: %s is not in MLflow: %s", folder, error)


@dataclass(frozen=True)
class Registered:
    """A registered version: the aliases that point at it, and when it was made, in seconds since 1970."""

    name: str
    version: str
    aliases: tuple[str, ...]
    created: int


def registered() -> list[Registered]:
    """Every registered version, by name, the newest of a name first.

    Raises:
        StoreError: MLflow cannot keep a store where the repository lies.
        MlflowException: the server is down or refuses.
    """
    client, _ = connect()
    pointing: dict[tuple[str, str], list[str]] = {}
    for model in _pages(client.search_registered_models):
        for alias, version in model.aliases.items():
            pointing.setdefault((model.name, str(version)), []).append(alias)
    found = [
        Registered(each.name, str(each.version), tuple(sorted(pointing.get((each.name, str(each.version)), ()))),
                   int(each.creation_timestamp) // 1000)
        for each in _pages(client.search_model_versions)
    ]  # fmt: skip
    return sorted(found, key=lambda each: (each.name, -int(each.version)))


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    """What a search of MLflow's finds, whatever it tells at once."""
    page = search()
    yield from page
    while page.token:
        page = search(page_token=page.token)
        yield from page


@dataclass(frozen=True)
class VersionFacts:
    """A registered version: its tags, and what its run keeps of its parameters and of code that was not committed."""

    name: str
    version: str
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    patch: str


def version_facts(address: str) -> VersionFacts | None:
    """What is known of the registered version at an address such as `models:/gpt-ppo/3`, or None where there is none.

    Raises:
        ValueError: it is no address of a registered model.
    """
    name, separator, which = address.removeprefix("models:/").replace("@", "/@").partition("/")
    if not address.startswith("models:/") or not separator or not which.removeprefix("@"):
        raise ValueError(f"{address} is not an address such as models:/gpt-ppo/3 or models:/gpt-ppo@champion")
    client, _ = connect()
    try:
        if which.startswith("@"):
            found = client.get_model_version_by_alias(name, which[1:])
        else:
            found = client.get_model_version(name, which)
    except mlflow.MlflowException as error:
        logger.info("%s: %s", address, error)
        return None
    texts = {path: _artifact(client, found.run_id, path) for path in (PARAMS_ARTIFACT, DIFF_ARTIFACT)}
    params = yaml12.load(texts[PARAMS_ARTIFACT]) or {}
    return VersionFacts(name, str(found.version), found.tags, params, texts[DIFF_ARTIFACT])


def _artifact(client: MlflowClient, run_id: str, path: str) -> str:
    if path not in {item.path for item in client.list_artifacts(run_id)}:
        return ""
    return Path(client.download_artifacts(run_id, path)).read_text()


def recorded_version(client: MlflowClient, stage: str, artifacts: Path) -> ModelVersion | None:
    """The version that a stage's `run.json` names, if this store has it and it is that run's.

    Equal numbers in two stores are not the same model.
    """
    record = StageRecord.load(stage, artifacts)
    if record is None or record.model_name is None or record.model_version is None:
        return None
    try:
        found = client.get_model_version(record.model_name, record.model_version)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return found if record.run_id is not None and found.run_id == record.run_id else None


def describe_version(client: MlflowClient, name: str, version: str, tags: Mapping[str, str], page: str) -> None:
    """Set tags and the page of a registered version."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.update_model_version(name, version, description=page)


def aliased(client: MlflowClient, name: str, alias: str) -> str | None:
    """The version that an alias points at, or None."""
    aliases = client.get_registered_model(name).aliases
    return str(aliases[alias]) if alias in aliases else None


def log_points(client: MlflowClient, run_id: str, points: Iterable[Point]) -> None:
    """Log figures of steps."""
    client.log_batch(run_id, metrics=[Metric(*point) for point in points])


def log_now(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    """Log final figures."""
    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()])


def link(client: MlflowClient, parent_id: str, stage: str, run_id: str, state: str, model: str | None) -> None:
    """Note on a lineage's run which run a stage was, what DVC did with it, and the registered version that it made."""
    about = {"run_id": run_id, "state": state} | ({"model": model} if model else {})
    set_tags(client, parent_id, {f"stage.{stage}.{key}": value for key, value in about.items()})


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    client.log_batch(run_id, tags=[RunTag(key, value[:TAG_LIMIT]) for key, value in tags.items()])


def note(page: str) -> dict[str, str]:
    """The tag that MLflow shows as a run's description, in Markdown."""
    return {"mlflow.note.content": page}


def source_tags(command: str, commit: str) -> dict[str, str]:
    """The tags that MLflow shows as a run's source."""
    return {
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit.rstrip("+"),
        "mlflow.user": getpass.getuser(),
    }
