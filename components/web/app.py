"""The application: routes, errors in OpenAI's shape, and the pages, behind the guard."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from components.ancestry import scorers
from components.inference.catalogue import identity
from components.labeling.journal import ConsentError, JournalError, LeaseError
from components.web import battles, lineage, tasks
from components.web.battles import Arena
from components.web.completions import chat_completions, completions
from components.web.desk import PAGES, Desk
from components.web.errors import ApiError
from components.web.guard import LOOPBACK, Guard, Limits
from components.web.lineage import ROOT, Links
from components.web.people import People
from components.web.responses import responses
from components.web.service import Service

if TYPE_CHECKING:
    from components.mlflow_store import Registered

ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/models", "/health", "/metrics", "/api")
OWNER = "gptlineage"


def make_app(
    service: Service, *, hosts: Iterable[str] = LOOPBACK, token: str | None = None, limits: Limits | None = None,
    desk: Desk | None = None, labelers: Mapping[str, str] | None = None, links: Links | None = None,
) -> ASGIApp:  # fmt: skip
    """The server's application. The engines end with it.

    Args:
        service: what answers.
        hosts: names that this server is called by.
        token: what clients must send.
        limits: how much and how long.
        desk: where labelers' answers are kept.
        labelers: each pseudonym's token, which is good for the routes below /api.
        links: where MLflow's and Prefect's pages are.
    """
    desk = desk or Desk()

    @asynccontextmanager
    async def until_shutdown(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.pool.close()
        desk.close()

    # FastAPI's own pages load their scripts from another host.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=until_shutdown)
    app.state.service, app.state.desk, app.state.arena = service, desk, Arena()
    app.state.people, app.state.links = People(token, labelers), links or Links()
    for path, route in (("chat/completions", chat_completions), ("completions", completions), ("responses", responses)):
        app.add_api_route(f"/v1/{path}", route, methods=["POST"], response_model=None)
    app.add_api_route("/v1/models", list_models)
    app.add_api_route("/v1/models/{name:path}", retrieve_model)
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics, response_model=None)
    app.add_api_route("/v1/{name:path}", unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    for part in (tasks, battles, lineage):
        app.include_router(part.routes())
    app.mount("/", Pages(directory=PAGES, html=True))
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(JournalError, _not_kept)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _failed)

    def seen(path: str, status: int, seconds: float) -> None:
        known = next((route for route in ROUTES if path == route or path.startswith(f"{route}/")), "pages")
        service.metrics.requests[known, status] += 1

    return Guard(app, hosts=hosts, token=token, limits=limits, seen=seen)


async def list_models(http: Request) -> dict[str, Any]:
    """Every registered version, by each of its names."""
    service: Service = http.app.state.service
    versions = await service.versions()
    named = [(name, await service.find(name)) for name in dict.fromkeys(each.name for each in versions)]
    named += [(name, each) for each in versions for name in (*_aliases(each), identity(each))]
    return {"object": "list", "data": [_described(name, version) for name, version in named]}


async def retrieve_model(name: str, http: Request) -> dict[str, Any]:
    """One of them."""
    service: Service = http.app.state.service
    return _described(name, await service.find(name))


def _aliases(version: "Registered") -> list[str]:
    return [f"{version.name}@{alias}" for alias in version.aliases]


def _described(name: str, version: "Registered") -> dict[str, Any]:
    """OpenAI's description, which version a name means, and whether it writes or only scores."""
    return {
        "id": name,
        "object": "model",
        "created": version.created,
        "owned_by": OWNER,
        "version": identity(version),
        "aliases": list(version.aliases),
        "writes": version.name not in scorers(ROOT),
    }


async def health(http: Request) -> JSONResponse:
    """200, or 503 once an engine has ended by an exception."""
    service: Service = http.app.state.service
    dead, loaded = service.dead, service.pool.loaded()
    busy = {each.version: {"live": each.engine.live, "waiting": each.engine.waiting} for each in loaded}
    body = {"status": "error" if dead else "ok", "dead": dead, "models": busy}
    return JSONResponse(body, 503 if dead else 200)


async def metrics(http: Request) -> Response:
    """Counts in Prometheus' text format."""
    service: Service = http.app.state.service
    return PlainTextResponse(
        service.metrics.text(service.pool.loaded()), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def unknown(http: Request) -> None:
    """What is not offered below /v1.

    Raises:
        ApiError: 404, or 405 where another method is offered.
    """
    known = http.url.path in ROUTES
    raise ApiError(405 if known else 404, f"{http.method} {http.url.path} is not offered", code="unknown_url")


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, str(error.detail), headers=error.headers)
    assert isinstance(error, ApiError)
    return error.response()


async def _malformed(_: Request, error: Exception) -> Response:
    return ApiError(400, "the address or its parameters are malformed", code="invalid_value").response()


async def _not_kept(_: Request, error: Exception) -> Response:
    """What the journal does not accept."""
    match error:
        case LeaseError():
            return ApiError(409, str(error), code="lease_gone").response()
        case ConsentError():
            return ApiError(403, str(error), code="consent_needed").response()
        case _:
            return ApiError(400, str(error), code="invalid_value").response()


class Pages(StaticFiles):
    """Files that a browser asks about each time: after an upgrade none of the old ones is used."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


async def _failed(_: Request, error: Exception) -> Response:
    """What nobody foresaw; the log has its trace, the client does not."""
    return ApiError(500, "the server failed; its log says why", code="server_error").response()
