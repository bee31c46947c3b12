"""`python -m week01_http_server`: wiring only."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from week01_http_server import descriptors, logs
from week01_http_server.command import PROGRAM, BadCommand, Command, parse
from week01_http_server.settings import Settings
from week01_http_server.transport import listeners
from week01_http_server.transport.tls import CertificateError, Certificates
from week01_http_server.workers.master import Figures, Master
from week01_http_server.workers.plan import ServeDirectory

EXIT_CANNOT_START = 1
EXIT_BAD_COMMAND = 2

NEEDED = ("httptools", "uvloop")
"""What the workers cannot do without; said here in one line, not by each of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end; returns the exit status: 2 for a mistake in the command line."""
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments, os.environ)
        _check_files(command)
    except (BadCommand, CertificateError) as error:
        return _fail(f"{error} (-h lists the options)", EXIT_BAD_COMMAND)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return _fail(
            f"{sys.executable} has no {' and no '.join(missing)}: use the clone's own "
            f"interpreter, .lab/venv/bin/python (`make week01 up` builds it)",
            EXIT_CANNOT_START,
        )
    logs.configure(command.plan.log_level, "master")
    descriptors.allow(command.plan.settings.limits.connections_max)
    try:
        slots = _slots(command)
        figures, metrics_url = _metrics(command.plan.settings)
    except listeners.ListenError as error:
        return _fail(str(error), EXIT_CANNOT_START)
    return _serve(command, slots, figures, metrics_url)


def _serve(
    command: Command,
    slots: list[list[socket.socket]],
    figures: Figures | None,
    metrics_url: str,
) -> int:
    settings = command.plan.settings
    tls = settings.tls is not None
    addresses = dict.fromkeys(
        listeners.address_of(each, tls=tls) for slot in slots for each in slot
    )

    def announce() -> None:
        count = "1 worker" if len(slots) == 1 else f"{len(slots)} workers"
        where = " and ".join(addresses)
        _say(f"listening on {where} ({count}, process {os.getpid()}){metrics_url}")

    master = Master(
        command.plan,
        slots,
        announce=announce,
        outlive=command.fd is not None or settings.inherit_sockets,
        figures=figures,
    )
    try:
        return master.run()
    finally:
        for slot in slots:
            for each in slot:
                each.close()
        if settings.unix_path:
            listeners.remove_unix(settings.unix_path)


def _check_files(command: Command) -> None:
    """What the plan names must be there before anything is opened."""
    serve, tls = command.plan.serve, command.plan.settings.tls
    if isinstance(serve, ServeDirectory) and not Path(serve.path).is_dir():
        raise BadCommand(f"--directory {serve.path!r} is no directory")
    if tls is not None:
        Certificates(tls.pairs)


def _slots(command: Command) -> list[list[socket.socket]]:
    """The listening sockets of each worker; one list for all where they are shared."""
    settings = command.plan.settings
    if command.fd is not None:
        shared = [listeners.adopt(command.fd)]
    elif settings.inherit_sockets:
        shared = listeners.inherited(os.environ, os.getpid())
    elif settings.unix_path:
        shared = [
            listeners.listen_unix(
                settings.unix_path, mode=settings.unix_mode, backlog=settings.backlog
            )
        ]
    else:
        count = settings.workers if listeners.spreads_by_port() else 1
        sockets = listeners.listen_tcp(
            settings.host, settings.port, backlog=settings.backlog, count=count
        )
        if count == settings.workers:
            return [[each] for each in sockets]
        shared = sockets
    return [shared] * settings.workers


def _metrics(settings: Settings) -> tuple[Figures | None, str]:
    """What the workers count into, served already, and words about where."""
    if not settings.metrics_port:
        return None, ""
    from week01_http_server import metrics  # only who asks for metrics pays for them

    figures = metrics.Figures()
    address = f"{settings.metrics_host}:{settings.metrics_port}"
    try:
        metrics.serve(figures, settings.metrics_host, settings.metrics_port)
    except OSError as error:
        raise listeners.ListenError(
            f"cannot serve metrics on {address}: {error.strerror}; choose another --metrics-port"
        ) from None
    return figures, f", metrics on http://{address}/metrics"


def _fail(line: str, status: int) -> int:
    sys.stderr.write(f"{PROGRAM}: {line}\n")
    return status


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
