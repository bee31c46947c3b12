"""Apps of real frameworks, unchanged, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import logging
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import httpx
import pytest
from fastapi import Body, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from week01_http_server.asgi.application import AsgiApplication
from week01_http_server.asgi.types import ASGIApp
from week01_http_server.settings import Settings
from week01_http_server.tests.conftest import WAIT_S, RunningServer, Serve

pytestmark = pytest.mark.integration

PIECE = b"x" * 1000


class StarletteSite:
    """A Starlette app, and what its tests wait for."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.gate = threading.Event()
        self.background_done = threading.Event()
        self.stream_ended = threading.Event()
        self.noticed = threading.Event()
        self.seen: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/hello/{name}", self.hello, middleware=[Middleware(_Tagging)]),
                Route("/upload", self.upload, methods=["POST"]),
                Route("/stream", self.stream),
                Route("/endless", self.endless),
                Route("/background", self.background),
                Route("/raises", self.raises),
                Route("/raises-late", self.raises_late),
                Route("/file", self.send_file),
                Route("/waits", self.waits),
                Route("/tasks", self.tasks),
            ],
            middleware=[Middleware(GZipMiddleware, minimum_size=10_000)],
            lifespan=self.lifespan,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        self.seen.append("up")
        async with anyio.create_task_group():
            yield {"pool": self.seen}
        self.seen.append("down")

    async def hello(self, request: Request) -> Response:
        assert request.state.pool is self.seen
        return JSONResponse(
            {
                "name": request.path_params["name"],
                "query": dict(request.query_params),
                "client": list(request.client or ()),
            }
        )

    async def upload(self, request: Request) -> Response:
        digest, size, pieces = hashlib.sha256(), 0, 0
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
            pieces += 1
        return JSONResponse({"sha256": digest.hexdigest(), "size": size, "pieces": pieces})

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await anyio.to_thread.run_sync(self.gate.wait, WAIT_S)
            yield b"second"

        return StreamingResponse(pieces())

    async def endless(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield PIECE
                    await asyncio.sleep(0)
            finally:
                self.stream_ended.set()

        return StreamingResponse(pieces())

    async def background(self, request: Request) -> Response:
        async def work() -> None:
            await anyio.to_thread.run_sync(self.gate.wait, WAIT_S)
            self.background_done.set()

        return PlainTextResponse("accepted", 202, background=BackgroundTask(work))

    async def raises(self, request: Request) -> Response:
        raise LookupError("no such thing")

    async def raises_late(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            raise LookupError("in the middle")

        return StreamingResponse(pieces())

    async def send_file(self, request: Request) -> Response:
        assert "http.response.pathsend" in request.scope["extensions"]
        return FileResponse(self.file)

    async def waits(self, request: Request) -> Response:
        while not await request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.noticed.set()
        return PlainTextResponse("nobody reads this")

    async def tasks(self, request: Request) -> Response:
        results: list[int] = []

        async def work(number: int) -> None:
            results.append(await anyio.to_thread.run_sync(lambda: number * number))

        with anyio.fail_after(WAIT_S):
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(work, number)
        task = asyncio.current_task()
        return JSONResponse({"sum": sum(results), "task": task is not None})


class _Tagging(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-tag"] = request.method
        return response


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "big.bin"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


@pytest.fixture
def site(big_file: Path) -> StarletteSite:
    return StarletteSite(big_file)


@pytest.fixture
def server(site: StarletteSite, serve: Serve) -> RunningServer:
    return run(serve, site.app)


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def run(serve: Serve, app: Any, settings: Settings | None = None) -> RunningServer:
    """A server for an app whose types are its framework's own."""
    asgi: ASGIApp = app
    settings = settings or Settings()
    return serve(AsgiApplication(asgi, settings), settings)


def client_of(server: RunningServer) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}",
        timeout=WAIT_S,
        trust_env=False,
        headers={"accept-encoding": "identity"},
    )


def logged(server: RunningServer) -> str:
    """The errors that the server logged, which the test expects."""
    text = "\n".join(logging.Formatter().format(record) for record in server.errors)
    server.errors.clear()
    return text


# ---- Starlette


def test_starlette_starts_and_ends(server: RunningServer, site: StarletteSite) -> None:
    assert site.seen == ["up"]
    server.call(server.server.drain())
    server.call(server.server.close())
    assert site.seen == ["up", "down"]


def test_starlette_answers_with_state_middleware_and_client(client: httpx.Client) -> None:
    answer = client.get("/hello/w%C3%B6rld", params={"a": "b c"})
    assert answer.status_code == 200
    assert answer.headers["x-tag"] == "GET"
    told = answer.json()
    assert (told["name"], told["query"], told["client"][0]) == ("wörld", {"a": "b c"}, "127.0.0.1")
    assert client.get("/nowhere").status_code == 404
    assert client.head("/hello/x").content == b""


@pytest.mark.parametrize("chunked", [False, True])
def test_starlette_takes_an_upload(client: httpx.Client, chunked: bool) -> None:
    data = bytes(range(256)) * 8192

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(data), 50_000):
            yield data[start : start + 50_000]

    told = client.post("/upload", content=pieces() if chunked else data).json()
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert told["size"] == len(data)
    assert told["pieces"] > 1
    assert client.post("/upload", content=b"").json()["size"] == 0


def test_starlette_waits_for_100_continue_only_when_it_reads(server: RunningServer) -> None:
    head = b"POST /upload HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    with server.connect() as raw:
        raw.sendall(head)
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"body")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert b'"size":4' in answer.read()


def test_starlette_streams_piece_by_piece(client: httpx.Client, site: StarletteSite) -> None:
    with client.stream("GET", "/stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        site.gate.set()
        assert b"".join(pieces) == b"second"
        assert answer.headers["transfer-encoding"] == "chunked"


def test_middleware_may_change_a_stream(client: httpx.Client, site: StarletteSite) -> None:
    site.gate.set()
    answer = client.get("/stream", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == b"firstsecond"


def test_starlette_works_on_after_its_answer(client: httpx.Client, site: StarletteSite) -> None:
    assert client.get("/background").status_code == 202
    assert not site.background_done.is_set()
    assert client.get("/hello/again").status_code == 200  # the connection is free meanwhile
    site.gate.set()
    assert site.background_done.wait(WAIT_S)


def test_starlette_that_raises_is_a_500_and_the_connection_lives(
    client: httpx.Client, server: RunningServer
) -> None:
    answer = client.get("/raises")
    assert answer.status_code == 500
    assert "no such thing" not in answer.text
    assert client.get("/hello/again").status_code == 200
    assert "LookupError: no such thing" in logged(server)


def test_starlette_that_raises_in_a_stream_cuts_the_answer_short(
    client: httpx.Client, server: RunningServer
) -> None:
    with (
        pytest.raises(httpx.TransportError),
        client.stream("GET", "/raises-late") as answer,
    ):
        answer.read()
    assert "in the middle" in logged(server)


def test_starlette_sends_files_by_path(client: httpx.Client, big_file: Path) -> None:
    answer = client.get("/file")
    assert answer.content == big_file.read_bytes()
    assert int(answer.headers["content-length"]) == big_file.stat().st_size
    part = client.get("/file", headers={"range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, bytes([5, 6, 7, 8, 9]))
    assert client.head("/file").content == b""


def test_a_client_that_leaves_in_the_middle_ends_the_stream(
    client: httpx.Client, site: StarletteSite
) -> None:
    with client.stream("GET", "/endless") as answer:
        assert next(answer.iter_raw()).startswith(b"x")
    assert site.stream_ended.wait(WAIT_S)
    assert client.get("/hello/again").status_code == 200


def test_an_app_can_ask_whether_the_client_left(server: RunningServer, site: StarletteSite) -> None:
    with server.connect() as raw:
        raw.sendall(b"GET /waits HTTP/1.1\r\nhost: a\r\n\r\n")
        assert not site.noticed.wait(0.1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert site.noticed.wait(WAIT_S)


def test_task_groups_timeouts_and_threads_work(client: httpx.Client) -> None:
    assert client.get("/tasks").json() == {"sum": 30, "task": True}


def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    asked = b"".join(b"GET /hello/%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(20))
    with server.connect() as raw:
        raw.sendall(asked)
        stream = raw.makefile("rb")
        for number in range(20):
            answer = http.client.HTTPResponse(_Reading(stream))  # type: ignore[arg-type]
            answer.begin()
            assert b'"name":"%d"' % number in answer.read()


class _Reading:
    """A socket for HTTPResponse that shares one buffer between answers."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, mode: str) -> Any:
        return _Unclosed(self._stream)


class _Unclosed:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        pass


# ---- FastAPI


def fastapi_app(closed: list[str]) -> FastAPI:
    app = FastAPI()

    async def session() -> AsyncIterator[str]:
        yield "session"
        closed.append("session")

    @app.get("/items/{number}")
    async def item(number: int, session: str = Depends(session)) -> dict[str, Any]:
        return {"number": number, "session": session}

    @app.get("/sync")
    def in_a_thread() -> dict[str, str]:
        return {"thread": threading.current_thread().name}

    @app.post("/files")
    async def files(content: Annotated[bytes, Body(media_type="application/octet-stream")]) -> int:
        return len(content)

    @app.exception_handler(ZeroDivisionError)
    async def handled(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "handled"}, 418)

    @app.get("/raises")
    async def raises() -> None:
        raise ZeroDivisionError

    return app


def test_fastapi_runs_unchanged(serve: Serve) -> None:
    closed: list[str] = []
    with client_of(run(serve, fastapi_app(closed))) as client:
        assert client.get("/items/7").json() == {"number": 7, "session": "session"}
        assert closed == ["session"]
        assert client.get("/items/x").status_code == 422
        assert client.get("/sync").json()["thread"] != threading.current_thread().name
        sent = client.post(
            "/files",
            content=b"y" * 300_000,
            headers={"content-type": "application/octet-stream"},
        )
        assert sent.json() == 300_000
        assert client.get("/raises").status_code == 418
        assert client.get("/openapi.json").json()["openapi"].startswith("3.")


# ---- Django


@pytest.fixture(scope="module")
def django_app() -> Any:
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    async def hello(request: HttpRequest, name: str) -> JsonResponse:
        return JsonResponse({"name": name, "q": request.GET.get("q"), "host": request.get_host()})

    def synchronous(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.body, content_type="application/octet-stream")

    async def stream(request: HttpRequest) -> StreamingHttpResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d" % number

        return StreamingHttpResponse(pieces())

    async def raises(request: HttpRequest) -> HttpResponse:
        raise ValueError("view broken")

    class Urls:
        urlpatterns = (
            path("hello/<str:name>", hello),
            path("sync", synchronous),
            path("stream", stream),
            path("raises", raises),
        )

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=Urls,
        SECRET_KEY="of no use outside of this test",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        LOGGING_CONFIG=None,
    )
    django.setup()
    return get_asgi_application()


def test_django_runs_unchanged(django_app: Any, serve: Serve) -> None:
    server = run(serve, django_app)
    with client_of(server) as client:
        told = client.get("/hello/ä", params={"q": "1 2"}).json()
        assert told == {"name": "ä", "q": "1 2", "host": f"127.0.0.1:{server.port}"}
        data = b"z" * 200_000
        answer = client.post("/sync", content=data)
        assert answer.content == data
        assert answer.headers["content-length"] == "200000"
        assert client.get("/stream").content == b"012"
        assert client.get("/raises").status_code == 500
        assert client.get("/hello/again").status_code == 200
