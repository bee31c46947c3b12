"""Starts servers as processes and reads from the kernel what they cost."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from infra.lab.errors import LabError
from infra.lab.servers.base import service_environment
from week01_http_server.bench.contestants import HOST, Contestant, Start

READY_S = 20.0
POLL_S = 0.05
STOP_S = 10.0
ANSWER_S = 5.0


class Running:
    """A server under measurement, with all its processes."""

    def __init__(
        self, contestant: Contestant, start: Start, process: subprocess.Popen[bytes]
    ) -> None:
        self.contestant, self.start = contestant, start
        self._process, self._log = process, start.run / "log"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.start.port}"

    def tree(self) -> list[psutil.Process]:
        """Its processes now; raises LabError once it has ended."""
        if self._process.poll() is not None:
            raise LabError(f"{self.contestant.name} has ended: {self.last_words()}")
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time, user and system, of all its threads so far."""
        times = [one.cpu_times() for one in self.tree()]
        return sum(one.user + one.system for one in times)

    def memory_bytes(self) -> int:
        """Proportional set size where the system tells it (Linux), else resident set size."""
        found = [one.memory_full_info() for one in self.tree()]
        return sum(getattr(one, "pss", one.rss) for one in found)

    def log_bytes(self) -> int:
        """What it has written since the log was last emptied."""
        return self._log.stat().st_size

    def empty_log(self) -> None:
        """It is opened for appending, so what comes next begins at the start of an empty file."""
        os.truncate(self._log, 0)

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"

    def get(self, path: str) -> tuple[int, int]:
        """Status and length of one answer. Raises OSError or HTTPException."""
        connection = http.client.HTTPConnection(HOST, self.start.port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, len(answer.read())
        finally:
            connection.close()

    def wait_until_ready(self, path: str, length: int | None = None) -> None:
        """Raises LabError unless `path` is answered 200 in READY_S, by `length` bytes if given."""
        told, end_s = "", time.monotonic() + READY_S
        while time.monotonic() < end_s:
            self.tree()
            try:
                found = self.get(path)
            except (OSError, http.client.HTTPException) as error:
                told = str(error)
            else:
                if found[0] == 200 and length in (None, found[1]):
                    return
                told = f"status {found[0]}, {found[1]} bytes"
            time.sleep(POLL_S)
        raise LabError(f"{self.contestant.name} does not answer {path} as it should: {told}")


@contextlib.contextmanager
def running(contestant: Contestant, start: Start) -> Iterator[Running]:
    """Start it, and end it in the end, by force where it does not go."""
    start.run.mkdir(parents=True)
    command = contestant.command(start)
    environment = {**service_environment(), **contestant.environment(start)}
    # Appending, so that the file can be emptied while the server writes.
    with Path(start.run / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    server = Running(contestant, start, process)
    try:
        yield server
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(process.pid), *children], STOP_S)
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait(STOP_S)
