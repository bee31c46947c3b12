"""The command line: from words to a plan, or to one line that says what is wrong with them.

Options that uvicorn has are named as uvicorn names them, so that it can be replaced by this
server in a command; those that this server has no answer to are refused by name. (argparse, not
typer: the master lives as long as the server, and typer would cost it 100 ms and 10 MB.)
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from week01_http_server import logs
from week01_http_server.settings import Settings, TlsSettings
from week01_http_server.transport.forwarded import FIELDS, Trust
from week01_http_server.workers.plan import Plan, ServeApp, ServeDirectory, ServeHello

PROGRAM = "python -m week01_http_server"

LOCAL_PEERS = "127.0.0.1,::1,unix"
"""Whose forwarded fields --proxy-headers believes unless told otherwise."""

WORKERS_MAX = 512

_DEFAULT = Settings()

REFUSED = {
    "--reload": "it does not watch files: SIGHUP loads the app anew without a failed request",
    "--reload-dir": "it does not watch files: SIGHUP loads the app anew",
    "--reload-include": "it does not watch files: SIGHUP loads the app anew",
    "--reload-exclude": "it does not watch files: SIGHUP loads the app anew",
    "--reload-delay": "it does not watch files: SIGHUP loads the app anew",
    "--env-file": "it reads no environment files: set the variables before you start it",
    "--log-config": "the app configures its own logging; --log-level is for the server's lines",
    "--http2": "it speaks HTTP/1.1",
    "--ssl-keyfile-password": "it reads no encrypted keys: decrypt it with 'openssl pkey'",
    "--ssl-version": "it speaks TLS 1.2 and 1.3, whatever is asked for",
    "--ssl-cert-reqs": "it asks clients for no certificates",
    "--ssl-ca-certs": "it asks clients for no certificates",
    "--ssl-ciphers": "the ciphers are OpenSSL's defaults",
    "--no-date-header": "a server with a clock sends Date (RFC 9110, section 6.6.1)",
    "--version": "it has none of its own: 'git log -1' tells",
    "--header": "it adds no headers of yours: the app, or a middleware, does",
    "--limit-max-requests-jitter": "workers are replaced one at a time anyway",
    "--timeout-worker-healthcheck": "a worker is known to be dead at once, by its pipe",
    "--h11-max-incomplete-event-size": "it does not use h11; its limits are in settings.py",
    "--ws-max-queue": "a WebSocket waits for the app instead",
    "--reset-contextvars": "each request has a task of its own already",
}
"""Options of uvicorn that this server has no answer to, and what there is instead."""


class BadCommand(Exception):
    """The command line cannot be followed; one line that says what to change."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the command line says.

    Attributes:
        plan: for the workers.
        fd: descriptor of a listening socket to serve from instead of opening one.
    """

    plan: Plan
    fd: int | None = None


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Read a command line; WEB_CONCURRENCY and FORWARDED_ALLOW_IPS are defaults, as for uvicorn.

    Raises:
        BadCommand: it cannot be followed.
        SystemExit: with status 0 after --help.
    """
    parser = _Parser(environment)
    given = parser.parse_args(arguments)
    _check(given)
    level = "debug" if given.log_level == "trace" else given.log_level
    plan = Plan(_settings(given), _serve(given), level)
    return Command(plan, given.fd)


def _check(given: argparse.Namespace) -> None:
    if given.app and given.directory is not None:
        raise BadCommand("an app and --directory: choose one of them")
    places = [
        name
        for name, there in (
            ("--uds", bool(given.uds)),
            ("--fd", given.fd is not None),
            ("--socket-activation", given.socket_activation),
        )
        if there
    ]
    if len(places) > 1:
        raise BadCommand(f"{' and '.join(places)}: choose one of them")
    if len(given.ssl_certfile) != len(given.ssl_keyfile):
        raise BadCommand("each --ssl-certfile needs its --ssl-keyfile, in the same order")
    if given.root_path and not given.root_path.startswith("/"):
        raise BadCommand(f"--root-path {given.root_path!r} does not begin with '/'")
    if given.proxy_protocol and not given.forwarded_allow_ips:
        raise BadCommand("--proxy-protocol needs --forwarded-allow-ips: who sends the header?")


def _serve(given: argparse.Namespace) -> ServeApp | ServeDirectory | ServeHello:
    if given.directory is not None:
        return ServeDirectory(given.directory)
    if given.app:
        return ServeApp(given.app, factory=given.factory, app_dir=given.app_dir)
    return ServeHello()


def _settings(given: argparse.Namespace) -> Settings:
    pairs = tuple(zip(given.ssl_certfile, given.ssl_keyfile, strict=True))
    return Settings(
        host=given.host,
        port=given.port,
        unix_path=given.uds,
        inherit_sockets=given.socket_activation,
        workers=given.workers,
        requests_per_worker_max=given.limit_max_requests,
        backlog=given.backlog,
        proxy_protocol=given.proxy_protocol,
        trusted_peers=_trusted(given),
        forwarded_fields=given.forwarded_fields,
        access_log=given.access_log,
        server_header=_DEFAULT.server_header if given.server_header else "",
        root_path=given.root_path.rstrip("/"),
        lifespan=given.lifespan,
        ws_deflate=given.ws_per_message_deflate,
        metrics_host=given.metrics_host,
        metrics_port=given.metrics_port,
        tls=TlsSettings(pairs) if pairs else None,
        limits=replace(
            _DEFAULT.limits,
            connections_max=given.limit_concurrency,
            body_max_bytes=given.limit_body,
            ws_message_max_bytes=given.ws_max_size,
        ),
        deadlines=replace(
            _DEFAULT.deadlines,
            idle_s=given.timeout_keep_alive,
            drain_s=given.timeout_graceful_shutdown,
            ws_ping_s=given.ws_ping_interval,
            ws_pong_s=given.ws_ping_timeout,
        ),
    )


def _trusted(given: argparse.Namespace) -> tuple[str, ...]:
    if given.proxy_headers is False and not given.proxy_protocol:
        return ()
    named = given.forwarded_allow_ips
    if named is None:
        named = LOCAL_PEERS if given.proxy_headers else ""
    peers = tuple(peer.strip() for peer in named.split(",") if peer.strip())
    try:
        Trust(peers)
    except ValueError as error:
        raise BadCommand(f"--forwarded-allow-ips: {error}") from None
    return peers


# ---- The options


class _Refuse(argparse.Action):
    """An option of uvicorn that is known and not followed."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> NoReturn:
        raise BadCommand(f"{option_string}: {REFUSED[str(option_string)]}")


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(least) - 1
        if not least <= value <= most:  # false for nan as well
            wanted = "a whole number" if kind is int else "a number"
            limit = f" from {least:g} to {most:g}" if most < math.inf else f", at least {least:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}{limit}")
        return value

    return read


_SECONDS = _number(float, 0, 86_400)


class _Parser(argparse.ArgumentParser):
    """Says mistakes in one line, by an exception."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(
            prog=PROGRAM,
            usage=f"{PROGRAM} [module:app | --directory DIR] [options]",
            description="Serve an ASGI app, or the files of a directory, over HTTP/1.1. "
            "Without either it says hello.",
            epilog="SIGTERM or Ctrl-C finishes what was begun, a second one ends at once. "
            "SIGHUP loads app and certificates anew without a failed request; SIGUSR1 the "
            "certificates alone. Options are named as uvicorn names them.",
            formatter_class=_help,
            allow_abbrev=False,
        )
        self.add_argument("app", nargs="?", help="the ASGI app, like main:app")
        self._what()
        self._where()
        self._processes(environment)
        self._limits()
        self._tls()
        self._proxies(environment)
        self._told()
        for option in REFUSED:
            self.add_argument(option, action=_Refuse, nargs="?", help=argparse.SUPPRESS)
        # Accepted where they ask for what is done anyway.
        for option, values in (
            ("--loop", ("auto", "uvloop")),
            ("--http", ("auto", "httptools")),
            ("--ws", ("auto", "websockets", "websockets-sansio")),
            ("--interface", ("auto", "asgi3")),
        ):
            self.add_argument(option, choices=values, help=argparse.SUPPRESS)
        for option in ("--use-colors", "--no-use-colors", "--date-header"):
            self.add_argument(option, action="store_true", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        raise BadCommand(" ".join(message.split()))

    def _what(self) -> None:
        add = self.add_argument_group("what to serve").add_argument
        add("--directory", metavar="DIR", help="the files of this directory instead of an app")
        add("--factory", action="store_true", help="the app is made by calling what is named")
        add("--app-dir", metavar="DIR", default="", help="where modules are looked for first [.]")
        add("--root-path", metavar="PATH", default="", help="where a proxy has mounted the app")
        add("--lifespan", choices=("auto", "on", "off"), default="auto", help="[auto]")
        add(
            "--ws-max-size",
            metavar="BYTES",
            type=_number(int, 1, 2**31),
            default=_DEFAULT.limits.ws_message_max_bytes,
            help="longest WebSocket message [%(default)s]",
        )
        for option, default, text in (
            (
                "--ws-ping-interval",
                _DEFAULT.deadlines.ws_ping_s,
                "silence before a WebSocket is pinged",
            ),
            ("--ws-ping-timeout", _DEFAULT.deadlines.ws_pong_s, "wait for its answer"),
        ):
            add(option, metavar="S", type=_SECONDS, default=default, help=f"{text} [%(default)g]")
        add(
            "--ws-per-message-deflate",
            metavar="BOOL",
            type=_boolean,
            default=True,
            help="compress WebSocket messages [true]",
        )

    def _where(self) -> None:
        add = self.add_argument_group("where").add_argument
        add("--host", default=_DEFAULT.host, help="[%(default)s]")
        add(
            "--port",
            type=_number(int, 0, 65535),
            default=_DEFAULT.port,
            help="0 takes a free one [%(default)s]",
        )
        add("--uds", metavar="PATH", default="", help="a unix socket instead")
        add("--fd", metavar="N", type=_number(int, 0, 65535), help="a listening socket inherited")
        add(
            "--socket-activation",
            action="store_true",
            help="the sockets that systemd passes (LISTEN_FDS)",
        )
        add(
            "--backlog",
            metavar="N",
            type=_number(int, 1, 65535),
            default=_DEFAULT.backlog,
            help="connections waiting to be accepted [%(default)s]",
        )

    def _processes(self, environment: Mapping[str, str]) -> None:
        add = self.add_argument_group("processes").add_argument
        add(
            "--workers",
            metavar="N",
            type=_number(int, 1, WORKERS_MAX),
            default=environment.get("WEB_CONCURRENCY") or _DEFAULT.workers,
            help="[$WEB_CONCURRENCY or 1]",
        )
        add(
            "--limit-max-requests",
            metavar="N",
            type=_number(int, 0, math.inf),
            default=0,
            help="replace a worker after so many [never]",
        )
        add(
            "--timeout-graceful-shutdown",
            metavar="S",
            type=_SECONDS,
            default=_DEFAULT.deadlines.drain_s,
            help="to finish what was begun [%(default)g]",
        )

    def _limits(self) -> None:
        add = self.add_argument_group("limits").add_argument
        add(
            "--limit-concurrency",
            metavar="N",
            type=_number(int, 1, 10_000_000),
            default=_DEFAULT.limits.connections_max,
            help="connections at once, for each worker; beyond it 503 [%(default)s]",
        )
        add(
            "--limit-body",
            metavar="BYTES",
            type=_number(int, 0, 2**50),
            default=_DEFAULT.limits.body_max_bytes,
            help="largest request body, 0 for any [%(default)s]",
        )
        add(
            "--timeout-keep-alive",
            metavar="S",
            type=_SECONDS,
            default=_DEFAULT.deadlines.idle_s,
            help="between requests on a connection [%(default)g]",
        )

    def _tls(self) -> None:
        add = self.add_argument_group("TLS (repeat both for more names)").add_argument
        for option, text in (
            ("--ssl-certfile", "certificate chain, PEM"),
            ("--ssl-keyfile", "its key, PEM"),
        ):
            add(option, metavar="FILE", action="append", default=[], help=text)

    def _proxies(self, environment: Mapping[str, str]) -> None:
        add = self.add_argument_group("behind proxies").add_argument
        add(
            "--proxy-headers",
            action=argparse.BooleanOptionalAction,
            default=None,
            help=f"believe forwarded fields [of {LOCAL_PEERS}]; off unless asked for",
        )
        add(
            "--forwarded-allow-ips",
            metavar="LIST",
            default=environment.get("FORWARDED_ALLOW_IPS"),
            help="whom to believe: addresses, networks, unix, * [$FORWARDED_ALLOW_IPS]",
        )
        add(
            "--forwarded-fields",
            choices=FIELDS,
            default=FIELDS[0],
            help="X-Forwarded-For, -Proto, or Forwarded (RFC 7239) [%(default)s]",
        )
        add(
            "--proxy-protocol",
            action="store_true",
            help="connections begin with a PROXY header (v1, v2)",
        )

    def _told(self) -> None:
        add = self.add_argument_group("what it tells").add_argument
        add(
            "--access-log",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="one JSON line for each answer, on standard output",
        )
        add("--log-level", choices=(*logs.LEVELS, "trace"), default="info", help="[info]")
        add(
            "--metrics-port",
            metavar="PORT",
            type=_number(int, 0, 65535),
            default=0,
            help="Prometheus metrics [none]",
        )
        add(
            "--metrics-host",
            metavar="ADDRESS",
            default=_DEFAULT.metrics_host,
            help=f"where they answer [{_DEFAULT.metrics_host}]",
        )
        add("--server-header", action=argparse.BooleanOptionalAction, default=True, help="[on]")


def _help(prog: str) -> argparse.HelpFormatter:
    width = min(100, shutil.get_terminal_size().columns)
    return argparse.HelpFormatter(prog, max_help_position=34, width=width)


def _boolean(text: str) -> bool:
    values = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None
