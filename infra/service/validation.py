"""FastAPI's request validation errors as problem documents. Only FastAPI services import this."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from infra.service.problems import problem_response

MAX_ERRORS = 20
"""Errors listed at most: one request must not choose the size of its answer."""


async def answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    """415 when the body does not say that it is JSON, 400 when it is not, 422 when it is but does
    not fit (RFC 9110 section 15.5)."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if any(item["loc"] == ("body",) for item in errors) and not _is_json(request):
        return problem_response(415, "Send the header Content-Type: application/json.")
    if any(item["type"] == "json_invalid" for item in errors):
        return problem_response(400, "The request's body is not valid JSON.")
    return problem_response(
        422, "The request does not fit its schema.", errors=list(located(errors))[:MAX_ERRORS]
    )


def _is_json(request: Request) -> bool:
    """By the media type's own rules: `application/json`, or any with the suffix `+json`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def located(errors: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, str]]:
    """Each error with a JSON pointer (RFC 6901) into the body, or the parameter's name.

    The shape is that of the example in RFC 9457 section 3. Input is not echoed.
    """
    for error in errors:
        where, *path = error["loc"]
        detail = str(error["msg"])
        if where == "body":
            pointer = "".join(f"/{_escape(str(part))}" for part in path)
            yield {"pointer": f"#{pointer}", "detail": detail}
        else:
            yield {"parameter": ".".join(map(str, path)), "in": str(where), "detail": detail}


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")
