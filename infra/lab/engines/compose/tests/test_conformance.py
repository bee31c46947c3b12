"""The compose engine does what every engine must, on real containers."""

from __future__ import annotations

import os

import anyio
import pytest

from infra.lab.engines.compose.engine import ComposeEngine
from infra.lab.engines.compose.tests.conftest import PROXY
from infra.lab.faults import questions
from infra.lab.faults.conformance import CHECKS, Subject
from infra.lab.site import HOST

pytestmark = pytest.mark.compose


@pytest.fixture
def subject(engine: ComposeEngine) -> Subject:
    return Subject(
        engine=engine,
        service="cache",
        host=HOST,
        port=engine.site.ports["cache"],
        upstream="cache:6379",
        question=questions.valkey(),
        faults=PROXY.client(engine.site),
        listen=f"0.0.0.0:{os.environ['PORT_SPARE']}",
    )


@pytest.mark.parametrize("name", CHECKS)
def test_the_compose_engine(subject: Subject, name: str) -> None:
    anyio.run(CHECKS[name], subject)


@pytest.mark.parametrize("fault", ["latency", "blackhole", "reset", "bandwidth"])
def test_faults_on_a_declared_link(engine: ComposeEngine, fault: str) -> None:
    faults, link = PROXY.client(engine.site), PROXY.link(engine.site, "cache")
    arguments = {"latency": (100,), "bandwidth": (50,)}.get(fault, ())

    async def run() -> None:
        async with getattr(faults, fault)(link, *arguments) as proof:
            assert link.name in str(proof)

    anyio.run(run)
