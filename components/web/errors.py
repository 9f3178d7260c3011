"""Errors as OpenAI's clients read them, at every status."""

from collections.abc import Mapping

from fastapi.responses import JSONResponse


class ApiError(Exception):
    """A request that is not answered: its status, and what stands in the body."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        """OpenAI's `type`."""
        return {401: "authentication_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )

    @property
    def body(self) -> dict[str, object]:
        """The body of the response, or the last event of a stream."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The response to the request. Clients retry what is too much (429) and nothing else."""
        again = {} if self.status == 429 else {"x-should-retry": "false"}
        return JSONResponse(self.body, self.status, {**again, **self.headers})
