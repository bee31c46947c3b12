"""Runs ansible-playbook: its events as they come, its whole output in a log."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.abc

from infra.lab.engines.hetzner.events import Course, explain
from infra.lab.errors import LabError
from infra.lab.site import make_dir

CALLBACKS = Path(__file__).with_name("callbacks")
LOG_MAX_BYTES = 8 * 1024 * 1024
LINE_MAX_BYTES = 16 * 1024 * 1024
GRACE_S = 10.0
"""How long an interrupted playbook may take to end."""
TAIL_BYTES = 16 * 1024


@dataclass(frozen=True)
class Runner:
    """How playbooks are run for one week.

    Attributes:
        inventory: file, folder or dynamic inventory.
        environ: variables of ansible-playbook, with PATH and ANSIBLE_CONFIG.
        log: its whole output goes here, run after run; begun anew once it is large.
    """

    inventory: Path
    environ: Mapping[str, str]
    log: Path

    async def run(
        self, playbook: Path, extra: Mapping[str, Any], tell: Callable[[str], None]
    ) -> Course:
        """Run a playbook to its end; `tell` gets a line per play and task.

        Cancelled, it interrupts the playbook and waits for its end. Raises LabError with host,
        task and the module's own words for a failure.
        """
        program = shutil.which("ansible-playbook", path=self.environ.get("PATH"))
        if program is None:
            raise LabError(
                "Ansible is not installed: `./lab --dev python -m infra.ansible.environment`"
            )
        make_dir(self.log.parent)
        command = [program, "-i", str(self.inventory), str(playbook)]
        command += ["-e", json.dumps(extra)] if extra else []
        with self._opened_log() as log:
            begun_at = log.tell()
            course, status = await self._follow(command, log, tell)
        self._judge(playbook, course, status, begun_at)
        return course

    async def _follow(
        self, command: Sequence[str], log: BinaryIO, tell: Callable[[str], None]
    ) -> tuple[Course, int]:
        """Run the command with its output in `log`; what it told, and its exit status."""
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        try:
            try:
                process = await anyio.open_process(
                    command,
                    stdin=subprocess.DEVNULL,  # it must not ask questions
                    stdout=log,
                    stderr=log,
                    env={**self.environ, **_callback(writable)},
                    start_new_session=True,
                    pass_fds=[writable],
                )
            finally:
                os.close(writable)  # so that its end is the end of the pipe
            try:
                return await _read(readable, tell), await process.wait()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await _end(process)
                raise
        finally:
            os.close(readable)

    @contextlib.contextmanager
    def _opened_log(self) -> Iterator[BinaryIO]:
        is_large = self.log.exists() and self.log.stat().st_size > LOG_MAX_BYTES
        with self.log.open("wb" if is_large else "ab") as log:
            self.log.chmod(0o600)  # what modules print may be private
            log.seek(0, os.SEEK_END)
            yield log

    def _judge(self, playbook: Path, course: Course, status: int, begun_at: int) -> None:
        """Raises LabError unless the playbook did something and went well."""
        if status != 0 and course.failures:
            # The last: a rescue may have answered an earlier one, and said what it means.
            raise LabError(f"{course.failures[-1]} (whole log: {self.log})")
        if status != 0:
            with self.log.open("rb") as log:
                log.seek(max(begun_at, self.log.stat().st_size - TAIL_BYTES))
                output = log.read().decode(errors="replace")
            raise LabError(f"{explain(output)} (whole log: {self.log})")
        if not course.hosts:
            raise LabError(f"{self.inventory} has no host that {playbook.name} is for")


def _callback(descriptor: int) -> dict[str, str]:
    return {
        "LAB_EVENTS_FD": str(descriptor),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "lab_events",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
    }


async def _read(readable: int, tell: Callable[[str], None]) -> Course:
    """Read events until nobody is left to write any."""
    course = Course()
    partial = b""
    while True:
        await anyio.wait_readable(readable)
        try:
            piece = os.read(readable, 65536)
        except BlockingIOError:
            continue
        if not piece:
            return course
        *lines, partial = (partial + piece).split(b"\n")
        if len(partial) > LINE_MAX_BYTES:
            raise LabError("Ansible answers with more than the lab can read")
        for line in lines:
            text = course.take(line.decode())
            if text:
                tell(text)


async def _end(process: anyio.abc.Process) -> None:
    """Interrupt the playbook and all it started; by force where that does not help."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with anyio.move_on_after(GRACE_S):
            await process.wait()
            return
