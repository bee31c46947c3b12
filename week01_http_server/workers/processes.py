"""One worker as a process: started, spoken to, and found dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from week01_http_server.workers import lines
from week01_http_server.workers.plan import Plan

MODULE = "week01_http_server.workers.worker"


class WorkerProcess:
    """A new program that serves `plan` from the sockets it inherits.

    Attributes:
        fd: where its lines come from; readable also when it has died.
    """

    def __init__(
        self, number: int, plan: Plan, listening: Sequence[int], figures: int = -1
    ) -> None:
        theirs_control, self._control = os.pipe()
        self.fd, theirs_status = os.pipe()
        try:
            lines.give(self._control, lines.Assignment(number, plan, tuple(listening), figures))
            inherited = [theirs_control, theirs_status, *listening]
            # Blocked until the worker has its own handlers: Ctrl-C and a lost terminal go to all
            # processes at once, and what a worker does about them is the master's business.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, lines.HELD_BACK)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", MODULE, str(theirs_control), str(theirs_status)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[*inherited, figures] if figures >= 0 else inherited,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            os.close(self._control)
            os.close(self.fd)
            raise
        finally:
            os.close(theirs_control)
            os.close(theirs_status)
        os.set_blocking(self.fd, False)
        self._held = b""
        self._failure = ""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that is dead already is none of ours to miss."""
        self._process.send_signal(number)

    def read(self) -> tuple[list[str], bool]:
        """The words that came since the last call, and whether it is still there."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return [], True
        *whole, self._held = (self._held + data).split(b"\n")
        words = []
        for line in whole:
            word, _, reason = line.decode("utf-8", "replace").partition(" ")
            if word == lines.FAILED:
                self._failure = reason
            words.append(word)
        return words, bool(data)

    def buried(self) -> str:
        """Wait for its end, which `read` has told, and say in one line how it ended."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # it closed its pipe, or gave it away, and lives on
            status = self._process.wait()
        os.close(self._control)
        os.close(self.fd)
        if self._failure:
            return self._failure
        if status < 0:
            try:
                return f"killed by {signal.Signals(-status).name}"
            except ValueError:
                return f"killed by signal {-status}"
        return f"exit status {status}"
