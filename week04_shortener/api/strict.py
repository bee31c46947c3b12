"""JSON bodies read strictly: what two programs could read differently is refused (RFC 7493).

Python's parser takes the last of two members with one name, and NaN for a number. Whoever checks a
request in front of the service may have read the other one, and so have checked another request.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `parse`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


def parse(body: bytes) -> Any:
    """The value in `body`; `HTTPException` 400 for what is no JSON, or no interoperable one.

    Numbers of thousands of digits and thousands of open brackets are refused by the parser itself.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        raise HTTPException(400, "The request's body is not UTF-8.") from error
    except RecursionError as error:
        raise HTTPException(400, "The request's body is nested too deeply.") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise HTTPException(400, "A number in the request's body is too long.") from error
    return value


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse(await self.body())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise HTTPException(400, "An object in the request's body has a name twice.")
    for name in members:
        if not name.isascii():
            _refuse_surrogates(name)
    return members


def _refuse_surrogates(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise HTTPException(
            400, "A name in the request's body has a lone surrogate, which is no character."
        ) from error


def _constant(_name: str) -> NoReturn:
    raise HTTPException(400, "NaN and Infinity are no JSON.")
