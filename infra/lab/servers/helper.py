"""Run a server's own tool (initdb, Kafka's format) to its end, as part of the instance."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from infra.lab.errors import LabError
from infra.lab.servers.base import service_environment
from infra.lab.site import Account, Site, make_dir

# Recorded like a service, so that a tool whose `lab` was killed is found and ended by the next.
_RECORDED = ("/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"')


def run(
    site: Site,
    service: str,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    timeout_s: float,
    account: Account | None = None,
) -> str:
    """Run `command` in `cwd`; what it printed.

    Raises:
        LabError: it failed or took too long; with the line in which it says why.
    """
    record = make_dir(site.run_dir(service), account) / "pid"
    tool = Path(command[0]).name
    process = subprocess.Popen(
        [*_RECORDED, record, *command],
        cwd=cwd,
        env=service_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a Ctrl-C is for the command, which lets the tool finish
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    try:
        printed, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{service}: {tool} did not end within {timeout_s:.0f} s") from error
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        reason = _reason(printed) or f"exit status {process.returncode}"
        raise LabError(f"{service}: {tool} failed: {reason}")
    return printed


def _reason(printed: str) -> str:
    """What the first line that calls itself an error says, else the last one; "" of nothing."""
    said = re.search(r"\b(?:error|fatal|panic): *(\S.*)", printed, re.IGNORECASE)
    lines = printed.strip().splitlines()
    return said.group(1).strip() if said else (lines[-1].strip() if lines else "")
