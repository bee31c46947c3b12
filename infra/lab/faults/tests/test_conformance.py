"""The local engine does what every engine must; and each check can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import anyio
import pytest

from infra.lab.engines.base import Engine, State
from infra.lab.errors import LabError, NotReadyError
from infra.lab.faults import conformance, questions
from infra.lab.faults.conformance import CHECKS, ConformanceError, Subject
from infra.lab.faults.probes import round_trip_s
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.faults.tests.peers import wait_until
from infra.lab.pytest_plugin import LabFactory
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.valkey import Valkey
from infra.lab.site import HOST
from infra.lab.topology import Topology

pytestmark = pytest.mark.integration

PROXY = fault_proxy("faults", 1, (ProxiedLink("db", 3, questions.postgres()),))
TOPOLOGY = Topology(
    week="week98",
    title="something to break",
    base_port=21100,
    faults=PROXY,
    servers=(
        Valkey(name="cache", port=0),
        Postgres(
            name="db",
            port=2,
            database="sample",
            password_secret="sample_password",
            settings={"shared_buffers": "16MB", "max_connections": "20"},
        ),
    ),
).with_faults()


@pytest.fixture(scope="module")
def engine(running_lab: LabFactory) -> Engine:
    """A real Valkey, a real PostgreSQL and the fault proxy under the local engine."""
    return running_lab(TOPOLOGY)


@pytest.fixture
def subject(engine: Engine) -> Subject:
    """The Valkey of it."""
    return subject_of(engine, engine, "cache", questions.valkey())


def subject_of(engine: Engine, tried: Engine, name: str, question: questions.Question) -> Subject:
    site = engine.site
    return Subject(
        engine=tried,
        service=name,
        host=HOST,
        port=site.ports[name],
        upstream=site.address(name),
        question=question,
        faults=PROXY.client(site),
    )


@pytest.mark.parametrize("name", CHECKS)
def test_the_local_engine(subject: Subject, name: str) -> None:
    anyio.run(CHECKS[name], subject)


@pytest.mark.parametrize("fault", ["latency", "blackhole", "reset", "bandwidth"])
def test_faults_on_the_way_to_a_database(engine: Engine, fault: str) -> None:
    """Over a link that the topology declares; proven with no account on it."""
    faults, link = PROXY.client(engine.site), PROXY.link(engine.site, "db")
    arguments = {"latency": (100,), "bandwidth": (20, "upstream")}.get(fault, ())

    async def run() -> None:
        async with getattr(faults, fault)(link, *arguments) as proof:
            assert link.name in str(proof)

    anyio.run(run)


def test_a_declared_link_comes_back_with_its_proxy(engine: Engine) -> None:
    link = PROXY.link(engine.site, "db")
    [before] = [row.pid for row in engine.status() if row.name == "faults"]
    anyio.run(engine.crash, "faults")
    wait_until(lambda: _is_back(engine, before))

    async def run() -> None:
        async with PROXY.client(engine.site).latency(link, 100):
            assert await round_trip_s(link) >= 0.1

    anyio.run(run)


def _is_back(engine: Engine, before: int | None) -> bool:
    [row] = [row for row in engine.status() if row.name == "faults"]
    if row.state is not State.RUNNING or row.pid == before:
        return False
    try:
        anyio.run(PROXY.probe, engine.site)
    except NotReadyError:  # running, and not listening yet
        return False
    return True


class Lying:
    """An engine whose verb does something else, or nothing."""

    def __init__(self, engine: Engine, verb: str, instead: str) -> None:
        self._engine = engine
        self._verb = verb
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        if name != self._verb:
            return getattr(self._engine, name)
        return getattr(self._engine, self._instead) if self._instead else self._nothing

    async def _nothing(self, names: str | Sequence[str]) -> None:
        """Says yes."""


@pytest.mark.parametrize(
    ("check", "verb", "instead"),
    [
        ("kill_stays_dead_until_start", "kill", "crash"),
        ("crash_comes_back", "crash", "kill"),
        ("pause_keeps_connections", "pause", ""),
        ("pause_keeps_connections", "pause", "crash"),
        ("pause_keeps_connections", "resume", "crash"),
        ("stop_and_start", "stop", ""),
        ("an_unknown_service_is_refused", "kill", ""),
    ],
)
def test_a_verb_that_does_something_else_is_caught(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    check: str,
    verb: str,
    instead: str,
) -> None:
    monkeypatch.setattr(conformance, "CHANGE_TIMEOUT_S", 2.0)
    lying = cast(Engine, Lying(engine, verb, instead))
    subject = subject_of(engine, lying, "cache", questions.valkey())
    try:
        with pytest.raises((ConformanceError, LabError)):
            anyio.run(CHECKS[check], subject)
    finally:
        anyio.run(engine.start, ["cache"])
