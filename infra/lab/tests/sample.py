"""The weeks that the lab's own tests run: a whole one, and a light one that starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.lab.servers.base import Server
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Site
from infra.lab.topology import Topology

PROGRAM = str(Path(__file__).with_name("program.py"))
WEEK = "week99"


def web(
    name: str = "web",
    port: int = 1,
    needs: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    ready_timeout_s: float = 60.0,
    stop_timeout_s: int = 15,
) -> PythonProcess:
    """A process that answers HTTP; `environment` makes it misbehave, see program.py."""
    return PythonProcess(
        name=name,
        port=port,
        needs=needs,
        arguments=lambda site: (PROGRAM, "web", str(site.ports[name])),
        environment=lambda site: environment or {},
        ready_timeout_s=ready_timeout_s,
        stop_timeout_s=stop_timeout_s,
    )


def task(
    name: str = "task",
    needs: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> PythonProcess:
    """A one-shot that adds a line to data/NAME.ran."""
    return PythonProcess(
        name=name,
        needs=needs,
        one_shot=True,
        arguments=lambda site: (PROGRAM, "task", str(ran_file(site, name))),
        environment=lambda site: environment or {},
    )


def ran_file(site: Site, name: str = "task") -> Path:
    """One line for every time the one-shot ran."""
    return site.root / f"{name}.ran"


def postgres(settings: Mapping[str, str] | None = None) -> Postgres:
    """A small PostgreSQL that trusts the disk (tests kill processes, not machines)."""
    return Postgres(
        name="db",
        port=2,
        database="sample",
        password_secret="sample_password",
        settings={"shared_buffers": "16MB", "max_connections": "20", **(settings or {})},
    )


def front() -> Nginx:
    """The front door."""
    return Nginx(
        name="front",
        port=0,
        needs=("web",),
        config="infra/lab/tests/config/front.conf",
        upstreams={"sample_web": ("web",)},
        probe_path="/health/ready",
    )


def week(*servers: Server) -> Topology:
    """A topology of just these."""
    return Topology(week=WEEK, title="a sample", base_port=21000, servers=servers)


def whole_week() -> Topology:
    """One of everything but Kafka: nginx, a web process, a one-shot, PostgreSQL, Valkey."""
    return week(
        front(),
        web(needs=("task", "cache")),
        task(needs=("db",)),
        postgres(),
        Valkey(name="cache", port=3),
    )


def light_week() -> Topology:
    """Two Python processes, one after the other."""
    return week(web("first", port=0), web("second", port=1, needs=("first",)))


WEEKS = {"whole": whole_week, "light": light_week}
"""What a client in another process may ask for by name."""
