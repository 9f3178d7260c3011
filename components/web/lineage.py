"""`/api/lineage`: pipelines, versions and lineages, with links into MLflow's and Prefect's pages."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from components import ancestry
from components.views import TRAINING, run_page
from components.web.errors import ApiError
from components.web.people import router

ROOT = Path(__file__).parents[2]  # the declarations are those of this code


@dataclass(frozen=True)
class Links:
    """Where MLflow's and Prefect's pages are; None where they are not served."""

    mlflow: str | None = None
    prefect: str | None = None


def routes() -> APIRouter:
    """The one route."""
    return router("/api", ("GET", "/lineage", lineage))


def lineage(http: Request) -> dict[str, Any]:
    """All of it."""
    links: Links = http.app.state.links
    try:
        experiment, versions, runs = ancestry.registry()
    except Exception as error:  # MLflow raises its own, sqlite's, requests' and OS errors
        raise ApiError(503, f"MLflow's store cannot be asked: {type(error).__name__}", code="no_store") from error

    def run(run_id: str) -> str | None:
        return run_page(links.mlflow, experiment, run_id) if links.mlflow and run_id else None

    def page(version: ancestry.Version) -> str | None:
        return f"{links.mlflow}/#/models/{version.name}/versions/{version.version}?{TRAINING}" if links.mlflow else None

    def flow(flow_run: str | None) -> str | None:
        return f"{links.prefect}/runs/flow-run/{flow_run}" if links.prefect and flow_run else None

    return {
        "linked": links.mlflow is not None,
        "pipelines": [{"name": name, "nodes": [asdict(step) for step in steps]}
                      for name, steps in ancestry.pipelines(ROOT).items()],
        "versions": [{**asdict(each), "page": page(each), "run": run(each.run_id)} for each in versions],
        "lineages": [{**asdict(each), "page": run(each.run_id), "flow": flow(each.flow_run)} for each in runs],
    }  # fmt: skip
