"""Servers wired for the claims: each control lacks one idea of the week.

python -m week01_http_server.checks.variants few-descriptors HOST PORT
python -m week01_http_server.checks.variants abrupt HOST PORT
python -m week01_http_server.checks.variants guarded HOST PORT
python -m week01_http_server.checks.variants unguarded HOST PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from dataclasses import replace

import uvloop

from week01_http_server import raw
from week01_http_server.handlers import Handlers
from week01_http_server.logs import configure
from week01_http_server.server import Server
from week01_http_server.settings import Deadlines, Limits, Settings
from week01_http_server.transport.listeners import listen_tcp
from week01_http_server.workers.crew import Worker
from week01_http_server.workers.master import Master
from week01_http_server.workers.plan import Plan, ServeApp, hello

DEMO = "week01_http_server.demo:app"
WORKERS = 2
DESCRIPTORS = 1024
"""What a shell gives its programs unless somebody raises it."""

HEAD_S = 1.0
CONNECTIONS_MAX = 600
"""Of the stands on which slow clients are tried: a deadline and a limit ten to fifty times smaller
than the server's own, so that a check takes seconds. What counts is that the clients that come
within one deadline, and the tail of those before, are fewer than the limit."""


def few_descriptors(host: str, port: int) -> int:
    """Level 1 as an ordinary shell starts it."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with raw.listen(host, port, Settings().backlog) as listener:
        raw.serve(listener)
    return 0


class Abrupt(Master):
    """A master whose workers never finish what they have begun."""

    def drain(self, worker: Worker) -> None:
        self.halt(worker)


def abrupt(host: str, port: int) -> int:
    """The week's server under that master."""
    settings = Settings(host=host, port=port, workers=WORKERS)
    plan = Plan(settings, ServeApp(DEMO))
    configure(plan.log_level, "master")
    sockets = listen_tcp(settings.host, port, backlog=settings.backlog, count=WORKERS)
    return Abrupt(plan, [[each] for each in sockets], announce=lambda: None).run()


def guarded(host: str, port: int) -> int:
    """The server with a deadline for heads."""
    return _serve(host, port, Deadlines(head_s=HEAD_S))


def unguarded(host: str, port: int) -> int:
    """The same without one."""
    return _serve(host, port, replace(Deadlines(), head_s=0.0, idle_s=0.0))


def _serve(host: str, port: int, deadlines: Deadlines) -> int:
    limits = Limits(connections_max=CONNECTIONS_MAX)
    settings = Settings(host=host, port=port, limits=limits, deadlines=deadlines)

    async def work() -> None:
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        server = Server(settings, Handlers(plain=hello))
        await server.start(listen_tcp(settings.host, port, backlog=settings.backlog))
        await over.wait()
        await server.close()

    uvloop.run(work())
    return 0


VARIANTS = {
    "few-descriptors": few_descriptors,
    "abrupt": abrupt,
    "guarded": guarded,
    "unguarded": unguarded,
}


def main(words: list[str]) -> int:
    """Run one of them."""
    if len(words) != 3 or words[0] not in VARIANTS or not words[2].isdecimal():
        sys.stderr.write(f"usage: ... {{{' | '.join(VARIANTS)}}} HOST PORT\n")
        return 2
    with contextlib.suppress(KeyboardInterrupt):
        return VARIANTS[words[0]](words[1], int(words[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
