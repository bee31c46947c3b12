"""Links of a topology through its fault proxy: the verb on real servers, and Kafka's own way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import anyio
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.lab.engines.base import Engine
from infra.lab.errors import LabError, UsageError
from infra.lab.fault_verb import Wish, run
from infra.lab.faults import kinds, questions
from infra.lab.faults.probes import FaultError, round_trip_s
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.pytest_plugin import LabFactory
from infra.lab.servers.kafka import Kafka
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Site
from infra.lab.tests.integration.conftest import Make, eventually, up
from infra.lab.tests.sample import WEEK
from infra.lab.topology import Topology

pytestmark = pytest.mark.integration

LATE_S = 1.0
"""Long enough that no busy machine takes it for nothing."""


def _week(*links: ProxiedLink, **servers: Valkey | Kafka) -> Topology:
    return Topology(
        week=WEEK,
        title="links",
        base_port=21000,
        servers=tuple(servers.values()),
        faults=fault_proxy("faults", 10, links),
    )


DIRECT = _week(ProxiedLink("cache", 11, questions.valkey()), cache=Valkey(name="cache", port=0))
THROUGH = DIRECT.with_faults()
assert THROUGH.faults is not None
PROXY = THROUGH.faults


@pytest.fixture
def engine(running_lab: LabFactory) -> Engine:
    return running_lab(THROUGH)


Verb = Callable[[Wish], list[str]]


@pytest.fixture
def fault(engine: Engine) -> Iterator[Verb]:
    """The verb; what it says, by lines. Afterwards nothing stands."""

    def call(wish: Wish) -> list[str]:
        return said(THROUGH, engine, wish)

    yield call
    call(Wish("clear"))


def said(declared: Topology, engine: Engine, wish: Wish) -> list[str]:
    lines: list[str] = []
    anyio.run(run, declared, engine, wish, lines.append)
    return lines


def standing(engine: Engine) -> str:
    """As `status` tells it."""
    return anyio.run(THROUGH.facts["faults"], engine.site)


def answers_after_s(engine: Engine) -> float:
    return anyio.run(round_trip_s, PROXY.link(engine.site, "cache"))


def test_a_fault_stands_with_its_proof_until_it_is_cleared(engine: Engine, fault: Verb) -> None:
    assert standing(engine) == "none"
    first, second = fault(Wish("cache", "latency", "1s", stream="up"))
    assert first.startswith("1000 ms latency on the link to cache:") and " before, " in first
    assert second.endswith("make week99 fault SERVICE=cache ARGS=clear")
    assert standing(engine) == "cache: latency 1000 ms up"
    assert answers_after_s(engine) >= LATE_S
    assert any("latency 1000 ms up" in line for line in fault(Wish()))
    assert fault(Wish("cache", "clear"))[0].startswith("cache: no fault, an answer after")
    assert standing(engine) == "none"
    assert answers_after_s(engine) < LATE_S


def test_without_the_fault_the_proof_fails(engine: Engine) -> None:
    """The control: the same probe on the same link, and nothing was put on it."""
    link = PROXY.link(engine.site, "cache")

    async def prove(words: tuple[str, ...]) -> None:
        probe = kinds.parse(*words).probe
        await probe.before(link)
        async with link.connect() as stream:
            await probe.landed(link, stream)

    for words in (("latency", "200"), ("bandwidth", "50"), ("blackhole",), ("reset",)):
        with pytest.raises(FaultError, match="did not land"):
            anyio.run(prove, words)


def test_a_fault_goes_when_its_time_is_over(engine: Engine, fault: Verb) -> None:
    assert "for 1 s" in fault(Wish("cache", "reset", stands="1s"))[1]
    assert standing(engine).startswith("cache: reset until ")
    eventually(lambda: standing(engine) == "none", "the fault is gone")
    assert answers_after_s(engine) < LATE_S


def test_one_fault_takes_the_place_of_another_and_one_that_fails_leaves_none(
    engine: Engine, fault: Verb
) -> None:
    fault(Wish("cache", "latency", "300"))
    fault(Wish("cache", "blackhole"))
    assert standing(engine) == "cache: blackhole"
    with pytest.raises(FaultError, match=r"no fault stands on the link to cache: .* lower rate"):
        fault(Wish("cache", "bandwidth", "900MB/s"))
    assert standing(engine) == "none"
    fault(Wish("cache", "blackhole"))
    assert len(fault(Wish("clear"))) == 1
    assert standing(engine) == "none"


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        (Wish("web", "reset"), "no link leads to 'web': links lead to cache"),
        (Wish("cache"), "which fault on cache"),
        (Wish("latency", "200"), "on which link"),
        (Wish("cache", "clear", "now"), "takes nothing more"),
        (Wish("cache", "latency", "200", stands="later"), "is no time"),
    ],
)
def test_words_that_say_nothing_are_refused(fault: Verb, wish: Wish, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        fault(wish)


def test_a_dead_server_is_told_with_and_without_a_fault(engine: Engine, fault: Verb) -> None:
    anyio.run(engine.kill, "cache")
    try:
        with pytest.raises(FaultError, match=r"no fault stands on the link to cache: .* hung up"):
            fault(Wish("cache", "latency", "200"))
        assert "no fault, and yet" in fault(Wish("cache", "clear"))[0]
    finally:
        anyio.run(engine.start, ["cache"])


def test_without_a_proxy_the_verb_says_how_to_have_one(make: Make) -> None:
    engine = make(DIRECT)
    with pytest.raises(LabError, match="is not up: `make week99 up FAULTS=1`"):
        said(DIRECT, engine, Wish())
    up(engine)
    with pytest.raises(LabError, match="links direct: `make week99 down`, then"):
        said(DIRECT, engine, Wish("cache", "reset"))


KAFKA = _week(
    ProxiedLink("kafka", 11, questions.kafka(), behind=12),
    kafka=Kafka(name="kafka", port=0, controller_port=1),
).with_faults()


async def produce_s(site: Site, bootstrap: str) -> float:
    """Seconds for one message by that way."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait("told", b"")  # whatever is asked only once
        began = time.perf_counter()
        await producer.send_and_wait("told", b"")
        return time.perf_counter() - began


@pytest.mark.slow
def test_kafkas_clients_stay_on_the_link_that_they_came_by(make: Make) -> None:
    """Kafka tells clients where to go on; over its usual address they would leave the link."""
    engine = make(KAFKA)
    up(engine)
    site = engine.site

    async def topic() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=site.address("kafka"))
        await admin.start()
        await admin.create_topics([NewTopic("told", 1, 1)])
        await admin.close()

    anyio.run(topic)
    said(KAFKA, engine, Wish("kafka", "latency", "1s"))
    assert anyio.run(produce_s, site, site.way("kafka")) >= LATE_S
    assert anyio.run(produce_s, site, site.address("kafka")) < LATE_S
