"""Finds how many connections at once a server bears, and what runs out then.

    python -m week01_http_server.bench.breaking raw
    python -m week01_http_server.bench.breaking raw --descriptors 20000
    python -m week01_http_server.bench.breaking raw --burst --backlog 5
    python -m week01_http_server.bench.breaking raw-alone
    python -m week01_http_server.bench.breaking server --descriptors 20000

It starts the server itself, on loopback, for each step anew, opens more and more connections, asks
twice on each, and narrows the number down between the last step that went well and the first that
did not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.client.process import allow_descriptors, run_in_loop
from benchmarks.contest.command import interruptible
from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import LabError
from week01_http_server.bench.contestants import HOST, PLAIN, Contestant, Serves, Start
from week01_http_server.bench.crowd import PATIENCE_S, Crowd
from week01_http_server.bench.diagnosis import Step, next_try, reason
from week01_http_server.bench.processes import Running, running

LADDER = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
MOST = 10_000
INTERRUPTED = 130
TRIES_MAX = 10
SAMPLE_S = 0.25
SPARE = 200
AT_ONCE = 64
NETSTAT = Path("/proc/net/netstat")

COMMANDS = {
    "raw": ("-m", "week01_http_server.raw"),
    "raw-alone": ("-m", "week01_http_server.raw", "--one-at-a-time"),
}


class Attempt:
    """One step, and what the server needed for it."""

    def __init__(self, server: Running, patience_s: float) -> None:
        self._server, self._patience_s = server, patience_s
        self._descriptors = self._threads = self._memory = 0

    async def run(self, connections: int, at_once: int) -> Step:
        """So many connections, of which at most `at_once` are being opened at the same time."""
        server, process = self._server, self._server.tree()[0]
        server.empty_log()
        overflows, cpu_s, began = _overflows(), server.cpu_s(), time.monotonic()
        sampler = asyncio.create_task(self._sample())
        try:
            crowd = await Crowd(
                HOST,
                server.start.port,
                connections,
                at_once,
                patience_s=self._patience_s,
                all_open=self._look,
            ).run()
        finally:
            sampler.cancel()
        ended, busy = True, 0.0
        with contextlib.suppress(LabError):
            busy = (server.cpu_s() - cpu_s) / (time.monotonic() - began)
            ended = False
        after = _overflows()
        return Step(
            connections=connections,
            answered=crowd.answered,
            failures=crowd.failures,
            slowest_s=max(crowd.opening_s, default=0.0),
            descriptors=self._descriptors,
            descriptors_max=0 if ended else _descriptors_max(process),
            threads=self._threads,
            memory_bytes=self._memory,
            overflows=None if overflows is None or after is None else after - overflows,
            busy=busy,
            last_words=server.last_words() if ended or server.log_bytes() else "",
            ended=ended,
        )

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._look()

    def _look(self) -> None:
        with contextlib.suppress(LabError, psutil.Error):
            tree = self._server.tree()
            self._descriptors = max(self._descriptors, *(one.num_fds() for one in tree))
            self._threads = max(self._threads, sum(one.num_threads() for one in tree))
            self._memory = max(self._memory, sum(one.memory_info().rss for one in tree))


def _overflows() -> int | None:
    """How often the kernel dropped a handshake since it started, its queue being full."""
    try:
        names, values = [
            line.split() for line in NETSTAT.read_text().splitlines() if line.startswith("TcpExt:")
        ]
    except (OSError, ValueError):
        return None
    return int(dict(zip(names, values, strict=True)).get("ListenOverflows", 0))


def _descriptors_max(process: psutil.Process) -> int:
    limit = getattr(process, "rlimit", None)
    if limit is None:  # macOS: the server was given ours
        import resource

        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return int(limit(psutil.RLIMIT_NOFILE)[0])


def contestant(name: str, descriptors: int, backlog: int) -> Contestant:
    """The server called `name`, with its limit of descriptors set by the shell that starts it."""

    def command(start: Start) -> tuple[str, ...]:
        if name == "server":
            words = PLAIN.command(start)
        else:
            words = (sys.executable, *COMMANDS[name], "--port", str(start.port))
        limited = f'ulimit -n {descriptors} && exec "$@"'
        return ("/bin/sh", "-c", limited, "sh", *words, "--backlog", str(backlog))  # the last wins

    return Contestant(name, name, None, frozenset({Serves.HELLO}), command)


def search(chosen: argparse.Namespace) -> Step:
    """Climb, then narrow down; the least that failed, or the most that went well."""
    best, worst = Step(0, 0), None
    for connections in (*(number for number in LADDER if number < chosen.most), chosen.most):
        step = _try(connections, chosen)
        if not step.whole:
            worst = step
            break
        best = step
    for _ in range(TRIES_MAX if worst is not None else 0):
        assert worst is not None
        middle = next_try(best.connections, worst.connections)
        if middle is None:
            break
        step = _try(middle, chosen)
        best, worst = (step, worst) if step.whole else (best, step)
    return worst or best


def _try(connections: int, chosen: argparse.Namespace) -> Step:
    """One step on a new server: after some steps the old one is long busy with their ruins."""
    one = contestant(chosen.server, chosen.descriptors, chosen.backlog)
    with tempfile.TemporaryDirectory(prefix="breaking-") as folder:
        start = Start(free_ports(1)[0], Serves.HELLO, Path(folder), Path(folder) / "run")
        with running(one, start) as server:
            server.wait_until_ready("/")
            at_once = connections if chosen.burst else AT_ONCE
            step = run_in_loop(lambda: Attempt(server, chosen.patience).run(connections, at_once))
    print(_line(step), flush=True)
    return step


def _line(step: Step) -> str:
    dropped = "?" if step.overflows is None else str(step.overflows)
    return (
        f"{step.connections:>6} {step.answered:>9} {step.slowest_s * 1000:>11.0f} "
        f"{step.descriptors:>12} {step.threads:>8} {step.memory_bytes / 2**20:>7.0f} "
        f"{100 * step.busy:>5.0f} {dropped:>8}  "
        + ", ".join(f"{many} {what}" for what, many in step.failures.items())
    )


def main() -> int:
    """Search and say; the exit status is 0 also where it broke: that is the answer."""
    options = argparse.ArgumentParser(prog="breaking", description="How many connections, and why.")
    options.add_argument("server", choices=[*COMMANDS, "server"])
    options.add_argument("--most", type=int, default=MOST, help="connections to stop at")
    options.add_argument("--descriptors", type=int, default=1024, help="the server's ulimit -n")
    options.add_argument("--backlog", type=int, default=128)
    options.add_argument("--burst", action="store_true", help=f"all at once, not {AT_ONCE}")
    options.add_argument("--patience", type=float, default=PATIENCE_S, help="s for an answer")
    chosen = options.parse_args()
    interruptible()
    if not 1 <= chosen.most <= MOST:
        options.error(f"--most is from 1 to {MOST}")
    try:
        allow_descriptors(chosen.most + SPARE)
        print(" tried  answered  slowest, ms  descriptors  threads     MiB  CPU%  dropped")
        last = search(chosen)
    except LabError as error:
        sys.stderr.write(f"breaking: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("breaking: interrupted\n")
        return INTERRUPTED
    if last.whole:
        print(f"{chosen.server} bears {last.connections} connections: no more were tried")
    else:
        print(f"{chosen.server} breaks at {last.connections} connections")
        print(reason(last, chosen.backlog))
    return 0


if __name__ == "__main__":
    sys.exit(main())
