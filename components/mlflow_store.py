"""The store of runs and models: every call that needs MLflow's own types. The only import of mlflow."""

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.types.schema import ParamSchema, ParamSpec

from components.data.digests import recorded_md5
from components.lineage import POINTER, flatten
from components.metric_buffer import Point
from components.serving_input import Options

logger = logging.getLogger(__name__)

EXPERIMENT = "gptlineage"
ROOT_VARIABLE = "GPTLINEAGE_ROOT"
_CONNECTING = threading.Lock()  # a flow connects ahead in a thread; two would make a new database at once
VALUE_LIMIT = 5000  # characters of a parameter that MLflow accepts, with room to spare
BATCH_LIMIT = 100  # parameters of one request
SERVING_REQUIREMENTS = ("torch==2.13.0", "safetensors==0.8.0", "tokenizers==0.23.3", "numpy>=2,<3", "mlflow==3.17.2")
# What a version is served with: each field of `Options` with its default.
SAMPLING_PARAMS = ParamSchema(
    [ParamSpec(name, "double" if type(value) is float else "long", value) for name, value in vars(Options()).items()]
)


class BadRequest(mlflow.MlflowException, ValueError):
    """What a served model was asked is wrong: its server answers 400 and the message, where others get a traceback."""

    def __init__(self, message: str) -> None:
        mlflow.MlflowException.__init__(self, message, BAD_REQUEST)


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the store below the repository's root."""
    root = Path(os.environ.get(ROOT_VARIABLE, ".")).resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlruns/mlflow.db"


def connect() -> tuple[MlflowClient, str]:
    """A client and the id of the lineage experiment, made where it is missing."""
    with _CONNECTING:
        # A server that is down must cost seconds, not MLflow's default of minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        uri = tracking_uri()
        location = None
        if uri.startswith("sqlite:///"):
            store = Path(uri.removeprefix("sqlite:///")).parent
            store.mkdir(parents=True, exist_ok=True)
            with sqlite3.connect(store / "mlflow.db") as database:
                database.execute("PRAGMA journal_mode=WAL")  # readers (the UI) do not block the writer
            location = (store.resolve() / "artifacts").as_uri()
        mlflow.set_tracking_uri(uri)
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return client, client.create_experiment(EXPERIMENT, artifact_location=location)
        return client, experiment.experiment_id


def log_model(run_id: str, stage: str, folder: Path) -> str:
    """Attach a model folder to a run and register it as a new version of `gpt-<stage>`; the version."""
    with mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name=stage,
            loader_module="components.serving",
            data_path=str(folder),
            code_paths=["components"],
            pip_requirements=list(SERVING_REQUIREMENTS),
            registered_model_name=f"gpt-{stage}",
            signature=None if stage == "reward" else ModelSignature(params=SAMPLING_PARAMS),
        )
    return str(info.registered_model_version)


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


def log_inputs(client: MlflowClient, run_id: str, tree: Mapping[str, Any]) -> None:
    """Resolved parameters, flat and as a file, and the version of the data."""
    resolved = {key: value for key, value in tree.items() if key != "presets"}
    params = [Param(key, str(value)[:VALUE_LIMIT]) for key, value in flatten(resolved, separator=".")]
    for start in range(0, len(params), BATCH_LIMIT):
        client.log_batch(run_id, params=params[start : start + BATCH_LIMIT])
    client.log_text(run_id, yaml.safe_dump(resolved, sort_keys=False), "params.yaml")
    digest = recorded_md5(POINTER)
    if digest is not None:
        source = json.dumps({"uri": str(POINTER)})
        dataset = Dataset(name="data", digest=digest, source_type="local", source=source)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def log_study(name: str, folder: Path, tags: Mapping[str, Any]) -> None:
    """A finished run that holds a study's table and plot."""
    client, experiment = connect()
    run = client.create_run(
        experiment, run_name=f"study {name}", tags={"kind": "study"} | {k: str(v) for k, v in tags.items()}
    )
    client.log_artifacts(run.info.run_id, str(folder))
    client.set_terminated(run.info.run_id)


def log_points(client: MlflowClient, run_id: str, points: Iterable[Point]) -> None:
    """Log figures of steps."""
    client.log_batch(run_id, metrics=[Metric(*point) for point in points])


def log_now(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    """Log final figures."""
    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()])


def link(client: MlflowClient, parent_id: str, stage: str, run_id: str, state: str) -> None:
    """Note on a lineage's run which run a stage was, and what DVC did with it."""
    tags = [RunTag(f"stage.{stage}.run_id", run_id), RunTag(f"stage.{stage}.state", state)]
    client.log_batch(parent_id, tags=tags)
