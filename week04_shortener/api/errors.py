"""Errors of the service as problem documents (RFC 9457), and how each is documented."""

from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict

from infra.service.problems import MEDIA_TYPE, Problem, problem_response
from infra.service.validation import answer_validation_error
from week04_shortener.links import AliasTaken
from week04_shortener.storage.database import DatabaseUnavailable


class ProblemDocument(BaseModel):
    """RFC 9457. `request_id` is what to quote when asking for help; `errors` point at fields."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


MEANINGS: Final = {
    400: "The request is malformed: no JSON, or a header that cannot be read.",
    401: "An API key is needed, or the one sent is unknown or was revoked.",
    403: "This is not for everybody here, or a password is needed or wrong.",
    404: "You have no link with this code.",
    405: "The link asks for no password.",
    409: "The alias is taken.",
    410: "The link was deleted or has expired.",
    412: "The link was changed since the version in `If-Match`.",
    413: "The body is too large.",
    415: "The body is not said to be of a type that is read here.",
    422: "The request does not fit its schema, or a value in it is refused.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "The database does not answer; `Retry-After` says when to try again.",
}

_RETRY_AFTER = {
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "string"}},
}
_CHALLENGE = {
    "WWW-Authenticate": {"description": "how to authenticate", "schema": {"type": "string"}},
}
_HEADERS: Final = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented answers of an operation that may end with `statuses`."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in sorted(statuses):
        documented[status] = {
            "description": MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        if status in _HEADERS:
            documented[status]["headers"] = _HEADERS[status]
    return documented


def refused(pointer: str, detail: str) -> Problem:
    """422 for a value at `pointer` (RFC 6901) of the body."""
    return Problem(422, f"{detail}.", errors=[{"pointer": pointer, "detail": detail}])


def no_such_link() -> Problem:
    """404: of somebody else's link nobody is told that it exists."""
    return Problem(404, "You have no link with this code.")


def gone() -> Problem:
    """410: the code was a link's, and will never be another's."""
    return Problem(410, "This link was deleted.")


def alias_taken(error: AliasTaken) -> Problem:
    """409: of a link that there is, or was: a code never leads to a second place."""
    return Problem(
        409,
        f"The alias {error.alias} is taken.",
        errors=[{"pointer": "#/alias", "detail": "the alias is taken"}],
    )


def add_handlers(app: FastAPI) -> None:
    """Answer the service's own errors; the plumbing answers the others."""
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    app.add_exception_handler(DatabaseUnavailable, answer_unavailable)


async def answer_unavailable(_request: Request, _error: Exception) -> Response:
    """Exception handler for `DatabaseUnavailable`."""
    return problem_response(
        503, "The database does not answer; try again soon.", headers={"Retry-After": "1"}
    )
