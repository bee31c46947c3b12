"""What the local engine asks of a real server."""

from __future__ import annotations

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.lab.errors import LabError
from infra.lab.site import Account, Site, make_dir

Progress = Callable[[str], None]
"""Told in a few words what is being done now."""


@dataclass(frozen=True)
class Launch:
    """How to run a process in the foreground.

    Attributes:
        argv: program and arguments; the program is an absolute path.
        env: variables on top of the small environment that every service gets.
        account: user to run as; None for the lab's own user.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Server(ABC):
    """One service of a topology as a local process.

    Attributes:
        name: unique in the topology; also the name of its log file and folders.
        port: offset to the week's base port; None for a service that listens nowhere.
        needs: services that must be ready before this one starts.
        ready_timeout_s: how long a start may take before `up` gives up.
        one_shot: runs to its end (exit status 0) instead of staying.
        stop_signal: asks for an orderly end.
        stop_timeout_s: after this a SIGKILL follows.
    """

    name: str
    port: int | None = None
    needs: tuple[str, ...] = ()
    ready_timeout_s: float = 60.0
    one_shot: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: int = 10

    @property
    def port_offsets(self) -> Mapping[str, int]:
        """Every port this service listens on: its name and offset to the week's base port."""
        return {} if self.port is None else {self.name: self.port}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the random strings it needs from the instance."""
        return ()

    @property
    def container_port(self) -> int | None:
        """Where other containers reach it in its own; None where that is the published one."""
        return None

    def user_settings(self) -> Mapping[str, str]:
        """Variables of the user's own that it is started with."""
        return {}

    @property
    @abstractmethod
    def kind(self) -> str:
        """The server's name for people: `PostgreSQL`."""

    @abstractmethod
    def version(self, site: Site) -> str:
        """Version of what would run. Raises MissingServerError with what to install."""

    def install(self, site: Site, progress: Progress) -> None:  # noqa: B027  (most need nothing)
        """Fetch what the environment does not bring (first time only). May block for long."""

    def prepare(self, site: Site) -> None:  # noqa: B027
        """Write configuration, create the data directory. Never erases data. May block."""

    @abstractmethod
    def launch(self, site: Site) -> Launch:
        """The process to start; everything it needs was prepared."""

    async def probe(self, site: Site) -> None:  # noqa: B027
        """Ask the server itself. Raises NotReadyError (or an OSError) until it truly answers."""

    async def settle(self, site: Site) -> None:  # noqa: B027
        """Once ready: what can only be said to a running server (roles, databases). Idempotent."""

    def address(self, site: Site) -> str:
        """Where people reach it."""
        return "" if self.port is None else site.address(self.name)

    def owns(self, site: Site, process: psutil.Process) -> bool:
        """Whether `process`, found in no recorded group, can only be a leftover of this service.

        For servers whose children leave their group. May raise psutil.Error.
        """
        return False


PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


def service_environment() -> dict[str, str]:
    """The small environment of every service: the same from any shell that calls `up`."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if sys.platform == "linux":
        # Java reads paths in the locale's encoding, so none with an umlaut under LANG=C; and a
        # locale that came along over ssh may not exist on this machine.
        passed["LC_ALL"] = "C.UTF-8"
    return passed


def check_data_version(
    data_dir: Path, kind: str, version: str, clean: str, written: str = ""
) -> None:
    """Refuse a data directory that another major version wrote; note the version in a new one.

    The note lies beside the directory (`postgres.version`), because servers insist on an empty
    directory for their own. Raises LabError and leaves the data as it is.

    Args:
        written: what the data itself says of its version, which counts more than the note.
    """
    note = data_dir.with_name(data_dir.name + ".version")
    if not written and note.exists() and data_dir.exists():
        written = note.read_text(errors="replace").strip()
    # An empty note (the disk was full when it was written) says nothing about the data.
    if written and written.split(".")[0] != version.split(".")[0]:
        raise LabError(
            f"{data_dir} was written by {kind} {written}, this lab runs {version}: "
            f"convert it with that server's own tools, or erase it with `{clean}`"
        )
    make_dir(data_dir.parent)
    note.write_text(version + "\n")


def clean_command(site: Site) -> str:
    return f"make {site.week} clean"
