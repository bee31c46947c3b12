"""One HTTP question to a server under start; nothing more than the standard library."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

import anyio.to_thread

from infra.lab.errors import NotReadyError
from infra.lab.site import HOST

BODY_MAX_BYTES = 1024 * 1024
"""A metrics page of many routes and statuses has hundreds of kilobytes; half a one is of no use."""
OK_STATUSES = range(200, 300)


@dataclass(frozen=True)
class Answer:
    """Status and (at most BODY_MAX_BYTES of) body."""

    status: int
    body: bytes

    @property
    def detail(self) -> str:
        """A problem's own words (RFC 9457 `detail`), "" where the body is no such thing."""
        try:
            return str(json.loads(self.body).get("detail", ""))
        except (ValueError, AttributeError):
            return ""


async def get(port: int, path: str, timeout_s: float) -> Answer:
    """GET from HOST:port. Raises NotReadyError when no HTTP answer comes within `timeout_s`."""
    try:
        return await anyio.to_thread.run_sync(_get, port, path, timeout_s)
    except OSError as error:
        raise NotReadyError(error.strerror or str(error) or type(error).__name__) from error
    except http.client.HTTPException as error:
        raise NotReadyError(str(error) or type(error).__name__) from error


async def expect_ok(port: int, path: str, timeout_s: float) -> None:
    """Raises NotReadyError, with the server's own reason, unless the answer is 2xx."""
    answer = await get(port, path, timeout_s)
    if answer.status not in OK_STATUSES:
        raise NotReadyError(answer.detail or f"{path} answers {answer.status}")


def _get(port: int, path: str, timeout_s: float) -> Answer:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read(BODY_MAX_BYTES))
    finally:
        connection.close()
