"""Runs playbooks for tests, and reads from Ansible's recap what they did."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.ansible import environment

PLAY_TIMEOUT_S = 900.0
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=(?P<lost>\d+)"
    r"\s+failed=(?P<failed>\d+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Played:
    """One run of a playbook.

    Attributes:
        status: exit status of ansible-playbook.
        output: all that it printed.
        elapsed_s: how long it took.
        ok: tasks by host, those that changed something among them.
        changed: tasks that changed something, by host.
    """

    status: int
    output: str
    elapsed_s: float
    ok: Mapping[str, int]
    changed: Mapping[str, int]

    def succeeded(self) -> Played:
        """This run; AssertionError with its output when it failed, or did nothing at all."""
        assert self.status == 0, f"status {self.status}\n{self.output}"
        assert sum(self.ok.values()) > 0, f"no task ran\n{self.output}"
        return self


def play(playbook: Path, inventory: Path, *words: str) -> Played:
    """Run a playbook to its end; `words` are further options such as -e name=value."""
    return asyncio.run(play_beside(playbook, inventory, *words))


async def play_beside(playbook: Path, inventory: Path, *words: str) -> Played:
    """Run a playbook while other tasks go on. Raises TimeoutError when it does not end."""
    programs = environment.ensure()
    started_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        programs / "ansible-playbook",
        *("-i", str(inventory), str(playbook), *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment.variables(programs) | {"ANSIBLE_FORCE_COLOR": "false"},
    )
    try:
        async with asyncio.timeout(PLAY_TIMEOUT_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    output = printed.decode(errors="replace")
    recap = {found["host"]: found for found in _RECAP.finditer(output)}
    return Played(
        status=process.returncode,
        output=output,
        elapsed_s=time.monotonic() - started_s,
        ok={host: int(found["ok"]) for host, found in recap.items()},
        changed={host: int(found["changed"]) for host, found in recap.items()},
    )
