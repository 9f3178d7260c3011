"""Who asks: the pseudonym under which somebody's answers are kept, and whether they may ask at all."""

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request

from components.labeling.answers import PSEUDONYM
from components.web.errors import ApiError

HEADER = "x-worker"
_PSEUDONYM = re.compile(PSEUDONYM)
_BEARER = {"www-authenticate": "Bearer"}


class People:
    """Who may use the routes below /api.

    With a token each, a person is whom their token says. Where all share the server's token, or this machine needs
    none, they are whom their page says.
    """

    def __init__(self, token: str | None = None, labelers: Mapping[str, str] | None = None) -> None:
        """`labelers`: each pseudonym's token."""
        self._token, self._labelers = token, dict(labelers or {})

    def permit(self, http: Request) -> None:
        """Raises: ApiError: 401, neither the server's token nor a labeler's is there where one is needed."""
        if self._token is not None and not self._owner(http) and not _same(_given(http), self._token):
            raise ApiError(401, "the token is missing or wrong", code="invalid_api_key", headers=_BEARER)

    def worker(self, http: Request) -> str:
        """A person's pseudonym.

        Raises:
            ApiError: 400, the page names none; 401, labelers have tokens and this is none of them.
        """
        if self._labelers:
            owner = self._owner(http)
            if owner is None:
                raise ApiError(401, "labelers have a token each; this is none of them", code="invalid_api_key",
                               headers=_BEARER)  # fmt: skip
            return owner
        named = http.headers.get(HEADER, "")
        if not _PSEUDONYM.fullmatch(named):
            raise ApiError(400, f"{HEADER}: a pseudonym of lower-case letters, digits and dashes", param=HEADER)
        return named

    def _owner(self, http: Request) -> str | None:
        given = _given(http)
        return next((name for name, token in self._labelers.items() if _same(given, token)), None)


def _given(http: Request) -> str:
    return http.headers.get("authorization", "").removeprefix("Bearer ")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def labelers(pairs: Iterable[str]) -> dict[str, str]:
    """Tokens by pseudonym, of `NAME=TOKEN`.

    Raises:
        ValueError: one is no such pair, or a token is two people's.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, _, token = pair.partition("=")
        if not _PSEUDONYM.fullmatch(name) or not token or token in found.values():
            raise ValueError(f"--labeler {name}: NAME=TOKEN, a lower-case pseudonym and a token of its own")
        found[name] = token
    return found


def permitted(http: Request) -> None:
    """What every route below /api depends on."""
    http.app.state.people.permit(http)


def worker(http: Request) -> str:
    """Who asks, for a route."""
    found: str = http.app.state.people.worker(http)
    return found


def router(prefix: str, *routes: tuple[str, str, Callable[..., Any]]) -> APIRouter:
    """Routes below a path, each a method, its own path and what answers, for those who are permitted."""
    made = APIRouter(prefix=prefix, dependencies=[Depends(permitted)])
    for method, path, route in routes:
        made.add_api_route(path, route, methods=[method], response_model=None)
    return made
