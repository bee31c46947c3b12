"""What FastAPI cannot know of the OpenAPI document: the redirect, which is not one of its routes,
and which answers cannot happen. Pure."""

from typing import Any, Final

from week04_shortener.api.errors import problems
from week04_shortener.redirects import passwords
from week04_shortener.redirects.guarded import FORM

TAGS: Final = [
    {"name": "links", "description": "Your links: make, change, delete; QR codes for everybody."},
    {"name": "many links", "description": "Many at once, from JSON or CSV, each for itself."},
    {"name": "statistics", "description": "Who followed a link, without knowing who."},
    {"name": "keys", "description": "Who you are: without a key you share everybody's links."},
    {"name": "short forms", "description": "Two calls of the roadmap, and the redirect itself."},
]

_PASSWORD: Final = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": ["password"],
                "properties": {"password": {"type": "string", "maxLength": passwords.MAX_CHARS}},
            }
        }
    },
}

_NO_ANSWER: Final = "#/components/schemas/HTTPValidationError"


def complete(document: dict[str, Any], *, open_mode: bool) -> dict[str, Any]:
    """`document` with the redirect, without answers that FastAPI documents on a guess.

    In `open_mode` a key may be left out.
    """
    document["tags"] = TAGS
    for operations in document["paths"].values():
        for operation in operations.values():
            if open_mode and "security" in operation:
                operation["security"] = [{}, *operation["security"]]
            answer = operation["responses"].get("422", {})
            if answer.get("content", {}).get("application/json", {}).get("schema") == {
                "$ref": _NO_ANSWER
            }:
                # Added to whatever has parameters, also where any text is good.
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    document["paths"]["/{code}"] = {
        "get": _follow(
            "get", "Follow a link", "A click is counted.", 302, problems(403, 404, 410, 503)
        ),
        "head": _follow(
            "head", "Where a link leads", "Nothing is counted.", 302, problems(404, 410, 503)
        ),
        "post": _follow(
            "post",
            "Follow a link with a password",
            "A click is counted.",
            303,
            problems(400, 403, 404, 405, 410, 413, 415, 429, 503),
        )
        | {"requestBody": _PASSWORD},
    }
    return document


def _follow(
    method: str, summary: str, counted: str, redirect: int, errors: dict[int | str, dict[str, Any]]
) -> dict[str, Any]:
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "A page: the link has a password, or visits that a look must not spend.",
            "content": {"text/html": {"schema": {"type": "string"}}},
        },
        redirect: {
            "description": "The link's target. Not to be kept, or clicks would not be counted.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **errors,
    }
    answers[404]["description"] = "There is no link with this code."
    return {
        "tags": ["short forms"],
        "summary": summary,
        "description": counted,
        "operationId": f"follow_{method}",
        "parameters": [
            {
                "name": "code",
                "in": "path",
                "required": True,
                "description": "a generated code or an alias",
                "schema": {"type": "string", "examples": ["my3NNng"]},
            }
        ],
        "responses": {str(status): answer for status, answer in answers.items()},
    }
