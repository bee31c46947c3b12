"""Kafka as the lab starts it: the slow one, so all in one test."""

from __future__ import annotations

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.lab.engines.base import State
from infra.lab.servers.kafka import Kafka
from infra.lab.site import Site
from infra.lab.tests.integration.conftest import (
    Make,
    down,
    eventually,
    is_gone,
    processes_in,
    row,
    supervisor_of,
    up,
)
from infra.lab.tests.sample import week

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPIC = "kept"


async def write(site: Site, message: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.address("kafka"))
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=site.address("kafka"), acks="all") as producer:
        await producer.send_and_wait(TOPIC, message)


async def read(site: Site) -> bytes | None:
    async with AIOKafkaConsumer(
        TOPIC, bootstrap_servers=site.address("kafka"), auto_offset_reset="earliest"
    ) as consumer:
        with anyio.fail_after(30):
            message: bytes | None = (await consumer.getone()).value
            return message


def test_kafka_keeps_messages_over_down_a_crash_and_a_killed_supervisor(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The poorest shell there is: Java must still find a path that is not ASCII.
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    engine = make(week(Kafka(name="kafka", port=0, controller_port=1)), "ünï, {a b} %")
    up(engine)
    anyio.run(write, engine.site, b"first")
    assert anyio.run(read, engine.site) == b"first"

    before = row(engine, "kafka").pid
    anyio.run(engine.crash, "kafka")
    eventually(lambda: row(engine, "kafka").pid not in (None, before), "it comes back")
    anyio.run(engine.start, ["kafka"])
    assert anyio.run(read, engine.site) == b"first"

    left = processes_in(engine.site.run_dir("kafka"))
    supervisor = supervisor_of(engine)
    supervisor.kill()
    eventually(lambda: not engine.is_up(), "the supervisor is gone")
    assert [process.name() for process in left] == ["java"]
    down(engine)
    assert all(map(is_gone, left))
    assert row(engine, "kafka").state == State.STOPPED

    up(engine)
    assert anyio.run(read, engine.site) == b"first"
