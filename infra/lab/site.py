"""Where one instance of a topology lives: its folders, ports and secrets."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
"""Where every service is reached from this machine, and from no other."""


@dataclass(frozen=True)
class Account:
    """The unprivileged user under which servers that refuse root run."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> Account:
        """Raises KeyError where the machine has no such user."""
        entry = pwd.getpwnam(name)
        return cls(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


@dataclass(frozen=True)
class Site:
    """What a server module may know of the instance it belongs to.

    Attributes:
        week: `week04`.
        clone: root of the repository.
        home: the lab home, shared by all weeks (environment, jars).
        root: this instance's folder: data/, run/, logs/, supervisor/.
        ports: port by name on `HOST`.
        secrets: random strings by name.
        account: set when the lab runs as root; None for an ordinary user.
    """

    week: str
    clone: Path
    home: Path
    root: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    account: Account | None

    @property
    def bind_host(self) -> str:
        """Address on which a service of the week listens."""
        return HOST

    @property
    def proxies(self) -> str:
        """Network from which the week's own proxies ask its services."""
        return f"{HOST}/32"

    @property
    def shares_processes(self) -> bool:
        """Whether its services see the processes of this machine, by the same numbers."""
        return True

    def data_dir(self, name: str) -> Path:
        """Survives `down`; only `clean` erases it."""
        return self.root / "data" / name

    def run_dir(self, name: str) -> Path:
        """Working directory of the service: its configuration and start script, written anew."""
        return self.root / "run" / name

    def log_file(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def address(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    def way(self, name: str) -> str:
        """Address by which services of the week reach the service `name`: that of the link to it
        through the fault proxy, where this instance has one."""
        link = link_to(name)
        return self.address(link if link in self.ports else name)

    def url(self, name: str) -> str:
        return f"http://{self.address(name)}"


def link_to(service: str) -> str:
    """Name of the link to a service through the fault proxy, and of its port."""
    return f"to-{service}"


def behind(service: str) -> str:
    """Name of the port that a service opens for that link alone, where it needs one."""
    return f"to-{service}-behind"


def make_dir(path: Path, account: Account | None = None) -> Path:
    """Create `path` if absent; the account, where given, owns it.

    A folder owned by the account is closed to others; any other must stay enterable,
    because servers that run as the account live below it.
    """
    if not path.is_dir():
        if not path.parent.is_dir():
            make_dir(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)  # whatever the umask
    if account is not None:
        os.chown(path, account.uid, account.gid)
        path.chmod(0o700)
    return path
