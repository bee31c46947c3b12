"""A container's log, read as it grows; what was written survives its restarts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

from infra.lab.engines.compose import docker
from infra.lab.errors import LabError

AGAIN_S = 1.0
"""Between two readers of a container whose log ends, because it does not run."""

READ_BYTES = 64 * 1024


class ContainerLog:
    """Lines of one container. The first call reads what is there; later ones follow.

    Args:
        container: its name.
    """

    def __init__(self, container: str) -> None:
        self._container = container
        self._last = ""
        self._began = False
        self._reader: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._partial = b""

    def exists(self) -> bool:
        """Whether there is such a container."""
        return bool(docker.inspect([self._container]))

    def skip(self) -> None:
        """Pass over what is there now."""
        for _ in self._whole("--tail", "1"):
            pass
        self._began = True

    def new_lines(self) -> Iterator[str]:
        """Lines that came since the last call."""
        if not self._began:
            self._began = True
            yield from self._whole()
            return
        yield from self._followed()

    def rest(self) -> Iterator[str]:
        """Docker keeps whole lines alone."""
        return iter(())

    def close(self) -> None:
        if self._reader is not None:
            self._end(self._reader)
            self._reader = None

    def _whole(self, *options: str) -> Iterator[str]:
        try:
            text = docker.logs(self._container, *options)
        except LabError:
            if self.exists():
                raise
            return
        # Two streams, one after the other: in the order in which they were written.
        for line in sorted(text.splitlines(), key=lambda line: line.partition(" ")[0]):
            yield from self._taken(line)

    def _followed(self) -> Iterator[str]:
        reader = self._reader
        if reader is None:
            if time.monotonic() - self._started < AGAIN_S:
                return
            self._started = time.monotonic()
            reader = self._reader = docker.follow_logs(self._container, self._last)
        assert reader.stdout is not None
        while True:
            try:
                piece = os.read(reader.stdout.fileno(), READ_BYTES)
            except BlockingIOError:
                return
            if not piece:
                self.close()  # it ended, or was stopped: another reader goes on
                return
            *lines, self._partial = (self._partial + piece).split(b"\n")
            for line in lines:
                yield from self._taken(line.decode(errors="replace"))

    def _taken(self, line: str) -> Iterator[str]:
        """The line without its time; none that was given before."""
        moment, _, text = line.partition(" ")
        if not moment[:1].isdigit():
            return  # what the docker command says itself
        if moment > self._last:
            self._last = moment
            yield text

    @staticmethod
    def _end(reader: subprocess.Popen[bytes]) -> None:
        reader.kill()
        reader.wait()
        if reader.stdout is not None:
            reader.stdout.close()
