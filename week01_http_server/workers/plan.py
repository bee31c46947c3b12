"""What a worker is told to serve; it crosses from the master to a new program, pickled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from week01_http_server.asgi.load import CannotLoad
from week01_http_server.handlers import Application, Handlers
from week01_http_server.messages import Request, Response
from week01_http_server.settings import Settings


@dataclass(frozen=True, slots=True)
class ServeApp:
    """An ASGI app; the fields are those of `asgi.load.load`."""

    name: str
    factory: bool = False
    app_dir: str | None = ""


@dataclass(frozen=True, slots=True)
class ServeDirectory:
    """The files below a directory."""

    path: str


@dataclass(frozen=True, slots=True)
class ServeHello:
    """A few words, for trying the server without anything to serve."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that workers need to know.

    Attributes:
        log_level: of the server's own lines on standard error, as `logging` names it.
    """

    settings: Settings
    serve: ServeApp | ServeDirectory | ServeHello = ServeHello()
    log_level: str = "INFO"


class CannotServe(Exception):
    """What the plan names cannot be served; one line that says what to do."""


def application_of(plan: Plan) -> Application:
    """Make what the plan names.

    Raises:
        CannotServe: it is not there, or of the wrong kind.
    """
    serve = plan.serve
    if isinstance(serve, ServeApp):
        return _asgi(serve, plan.settings)
    if isinstance(serve, ServeDirectory):
        return _files(serve)
    return Handlers(plain=hello)


def hello(_request: Request) -> Response:
    """The same few words to everyone, with the process that says them."""
    return Response(
        200,
        ((b"content-type", b"text/plain; charset=utf-8"),),
        b"Hello from process %d\n" % os.getpid(),
    )


def _asgi(serve: ServeApp, settings: Settings) -> Application:
    from week01_http_server.asgi.application import AsgiApplication
    from week01_http_server.asgi.load import load

    try:
        app = load(serve.name, factory=serve.factory, app_dir=serve.app_dir)
    except CannotLoad as error:
        raise CannotServe(str(error)) from None
    return AsgiApplication(app, settings)


def _files(serve: ServeDirectory) -> Application:
    from week01_http_server.static.app import DirectoryUnusable, FilesApplication

    try:
        return FilesApplication(Path(serve.path))
    except DirectoryUnusable as error:
        raise CannotServe(str(error)) from None
