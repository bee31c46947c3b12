"""Runs pip for infra.environment: progress while it works, one line when it fails.

pip's whole output goes to the log; what is shown is a count of packages and the seconds so far.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from infra.bootstrap import BootstrapError

TTY_INTERVAL_S = 0.25
PLAIN_INTERVAL_S = 5.0
# How long an interrupted pip may take to clean up after itself.
GRACE_S = 10.0
# First match wins: what pip says (regular expression) and what the user is told.
CAUSES = (
    (r"No space left on device", "the disk is full"),
    (r"Disk quota exceeded", "the disk quota is used up"),
    (r"Read-only file system", "the file system is read-only"),
    (r"Permission denied: '([^']*)'", "no permission to write {0}"),
    (r"DO NOT MATCH THE HASHES", "a downloaded package is not the one the lock names"),
    (r"ProxyError|407 Proxy", "the proxy refuses: check the *_proxy variables"),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "the package registry's certificate is not trusted: set PIP_CERT to your CA file",
    ),
    (
        r"name resolution|NameResolutionError|Name or service not known|nodename nor servname"
        r"|Connection refused|ConnectTimeout|ReadTimeout|Network is unreachable|timed out"
        r"|NewConnectionError|Connection reset|ConnectionError|IncompleteRead",
        "the package registry cannot be reached: check the network",
    ),
    (r"401 Client Error|403 Client Error|404 Client Error|50\d Server Error", "{line}"),
    (
        r"No matching distribution found for ([^ ]+)",
        "the package registry in use has no wheel of {0} for this platform",
    ),
)


def explain(output: str) -> str:
    """One line that says why pip failed, read from its output."""
    for pattern, message in CAUSES:
        found = re.search(pattern, output)
        if found:
            line = _line_around(output, found.start())
            return message.format(*found.groups(), line=line)
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    last = errors or output.split("\n") or [""]
    return last[-1].removeprefix("ERROR:").strip() or "pip failed"


def _line_around(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return text[start:].split("\n", 1)[0].removeprefix("ERROR:").strip()


class Workshop(NamedTuple):
    """What a child process of a build works with."""

    log: IO[bytes]  # its whole output goes here
    lock_fd: int  # the held build lock
    environment: dict[str, str]


@contextlib.contextmanager
def child(command: Sequence[str], workshop: Workshop) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` with its output in a pipe; leaving early ends it and all it started.

    It has a process group of its own, because venv and pip start processes themselves, and it holds
    the build lock too: should this process be killed, the lock lasts as long as what it leaves.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=workshop.environment,
        pass_fds=[workshop.lock_fd],
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        # Interrupted rather than terminated: pip then undoes what it can.
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


class Installer:
    """Installs with the pip of the interpreter `python`."""

    def __init__(self, python: Path, workshop: Workshop) -> None:
        self._python = python
        self._workshop = workshop
        self._started_s = time.monotonic()
        self._shown_s = 0.0
        # True once pip has begun to change the environment, so that stopping leaves it half done.
        self.has_touched_packages = False

    def install_lock(self, lock: Path) -> int:
        """Installs every requirement of `lock`, by hash, from wheels; returns how many."""
        names = re.findall(r"^[A-Za-z0-9]", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
        arguments = ["--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
        return self._pip(arguments, expected=len(names))

    def install_project(self, clone: Path) -> None:
        """Installs the project itself, editable; what builds it is in the environment already."""
        self.has_touched_packages = True
        self._pip(["--no-deps", "--no-build-isolation", "--no-index", "-e", str(clone)], expected=0)

    def _pip(self, arguments: Sequence[str], expected: int) -> int:
        command = [str(self._python), "-m", "pip", "install", "--progress-bar", "off", *arguments]
        try:
            with child(command, self._workshop) as process:
                output, count = self._follow(process, expected)
        finally:
            self._clear_line()
        if process.returncode != 0:
            raise BootstrapError(f"{explain(output)} (pip's output: {self._workshop.log.name})")
        return count

    def _follow(self, process: subprocess.Popen[bytes], expected: int) -> tuple[str, int]:
        """Copies pip's output to the log until it ends; returns it with the package count."""
        assert process.stdout is not None
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_into, args=(process.stdout, lines), daemon=True)
        reader.start()
        output: list[str] = []
        seen, doing = 0, "found"
        while True:
            try:
                raw = lines.get(timeout=TTY_INTERVAL_S)
            except queue.Empty:
                raw = None
            if raw == b"":
                break
            if raw is not None:
                self._workshop.log.write(raw)
                self._workshop.log.flush()
                line = raw.decode(errors="replace").rstrip()
                output.append(line)
                seen += line.startswith(("Collecting ", "Requirement already satisfied: "))
                expected -= line.startswith("Ignoring ")  # its marker is for another platform
                if line.startswith(("Installing collected", "Attempting uninstall")):
                    self.has_touched_packages = True
                    doing = "downloaded, unpacking"
                elif line.startswith("WARNING: Retrying"):
                    doing = "found, the package registry does not answer, trying again"
            if expected:
                self._show(f"{seen} of {expected} packages {doing}")
        process.wait()
        return "\n".join(output), seen

    def _show(self, text: str) -> None:
        """Shows the state: a live line on a terminal, a plain one every few seconds elsewhere."""
        now_s = time.monotonic()
        is_tty = sys.stderr.isatty()
        if now_s - self._shown_s < (TTY_INTERVAL_S if is_tty else PLAIN_INTERVAL_S):
            return
        if not is_tty and now_s - self._started_s < PLAIN_INTERVAL_S:
            return
        self._shown_s = now_s
        message = f"lab: {text}, {now_s - self._started_s:.0f} s"
        sys.stderr.write(f"\r\033[K{message}" if is_tty else f"{message}\n")
        sys.stderr.flush()

    def _clear_line(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _read_into(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")
