"""What a claim is measured on: a running week of our own, or only an address somebody gave."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from infra.lab.engines.base import Engine, State
from infra.lab.errors import LabError, UsageError
from infra.lab.servers.postgres import Postgres
from infra.lab.site import Site
from infra.lab.topology import Topology

Say = Callable[[str], None]

CONNECT_TIMEOUT_S = 5.0


def unheard(text: str) -> None:
    """Progress that nobody reads."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The surroundings of one run of a claim.

    Attributes:
        url: the front door, without a slash at its end.
        dsn: address of the week's PostgreSQL; None where there is none or none was given.
        engine: the verbs on the running week; None against a target.
        site: its ports, folders and secrets; None against a target.
        seed: for everything random in the run.
        deep: whether time is no matter: a fault may last as long as it would, a table be as large.
        say: one line of progress, shown beside the claim's name.
    """

    url: str
    dsn: str | None = None
    engine: Engine | None = None
    site: Site | None = None
    seed: int = 1
    deep: bool = False
    say: Say = unheard

    def running(self) -> Engine:
        """The engine of a claim that needs one. Raises LabError against a target."""
        if self.engine is None:
            raise LabError('this claim uses the engine: declare needs={"engine"}')
        return self.engine

    def database(self) -> str:
        """The dsn of a claim that needs one. Raises LabError where there is none."""
        if self.dsn is None:
            raise LabError('this claim reads the database: declare needs={"dsn"}, give one')
        return self.dsn

    def offers(self) -> frozenset[str]:
        """Which of the things a claim can need are here."""
        held = {"url": self.url, "dsn": self.dsn, "engine": self.engine}
        return frozenset(name for name, value in held.items() if value)


def of_engine(engine: Engine, declared: Topology) -> Lab:
    """The lab of a week that runs."""
    site = engine.site
    databases = [server for server in declared.servers if isinstance(server, Postgres)]
    return Lab(
        url=site.url(declared.front),
        dsn=databases[0].dsn(site) if databases else None,
        engine=engine,
        site=site,
    )


def of_target(url: str, dsn: str | None) -> Lab:
    """The lab that somebody else runs. Raises UsageError for what is no address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{without_secrets(url)} is no target: write http://HOST:PORT")
    if dsn is not None and urlsplit(dsn).scheme not in ("postgresql", "postgres"):
        raise UsageError("the target's dsn is none: write postgresql://USER:PASSWORD@HOST/NAME")
    return Lab(url=url.rstrip("/"), dsn=dsn)


def require_answer(lab: Lab) -> None:
    """Somebody accepts connections at the target. Raises LabError in one line, before measuring."""
    parts = urlsplit(lab.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise LabError(
            f"nothing answers at {without_secrets(lab.url)} ({error}): start your service first"
        ) from error


def without_secrets(url: str) -> str:
    """An address fit for results and screens: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


async def make_whole(lab: Lab) -> list[str]:
    """Start again what an earlier run left dead or paused; the names of those. Raises LabError."""
    engine = lab.engine
    if engine is None:
        return []
    rows = engine.status()
    paused = [row.name for row in rows if row.state is State.PAUSED]
    for name in paused:
        await engine.resume(name)
    down = [row.name for row in rows if row.state not in (State.RUNNING, State.DONE, State.PAUSED)]
    if down:
        await engine.up()
    return [*paused, *down]


def versions(lab: Lab) -> dict[str, str]:
    """Each service's server and version, from its own status; {} against a target."""
    rows = lab.engine.status() if lab.engine is not None else []
    return {row.name: f"{row.kind} {row.version}".strip() for row in rows}
