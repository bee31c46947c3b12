"""A small HTTP server for processes whose work is not HTTP: health and metrics only."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from infra.service.health import Check
from infra.service.lifecycle import CannotStart
from infra.service.plumbing import install


class _EmbeddedServer(uvicorn.Server):
    """uvicorn inside a process that handles its signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AdminServer:
    """Serves ``/health/live``, ``/health/ready`` and ``/metrics`` until it is told to stop.

    The address is bound at once, so that a busy port is one clear line at the start.
    Port 0 lets the system choose; `port` tells which it was.
    """

    def __init__(
        self, host: str, port: int, *, checks: Sequence[Check], registry: CollectorRegistry
    ) -> None:
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        app = Starlette()
        install(app, registry=registry, checks=checks, max_body_bytes=0)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _EmbeddedServer(config)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        structlog.get_logger().info("admin server listens", port=self.port)
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            self._server.should_exit = True
            await serving


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another admin port"
        ) from error
    return bound
