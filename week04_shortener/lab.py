"""Week 4's topology: two replicas behind nginx, PostgreSQL, Valkey, Kafka, the click path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families

from infra.lab.errors import NotReadyError, UsageError
from infra.lab.faults import questions
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.servers import http
from infra.lab.servers.kafka import Kafka
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Site
from infra.lab.topology import Topology
from week04_shortener.clicks import clicklog, cursor

PREFIX = "SHORTENER_"
TRUSTED_PROXIES = f"{PREFIX}TRUSTED_PROXIES"
CODE_KEY = "shortener_code_key"
VISITOR_KEY = "shortener_visitor_key"
PASSWORD = "shortener_password"
TOPIC = "clicks"
DEAD_LETTERS = "clicks-dead"
REPLICAS = ("api1", "api2")
FORWARDERS = ("forwarder1", "forwarder2")
FACTS_TIMEOUT_S = 3.0

SERVERS = {
    "week01": ("-m", "week01_http_server"),
    # By itself it takes a loopback peer's word for who asked; the service must judge that.
    "uvicorn": ("-m", "uvicorn", "--no-proxy-headers"),
}
"""What the replicas may run under; their command lines agree. `SERVER=uvicorn make week04 up`."""

postgres = Postgres(
    name="postgres",
    port=1,
    database="shortener",
    password_secret=PASSWORD,
    settings={
        "shared_buffers": "64MB",
        "max_connections": "60",
        # Counts the queries it answers itself, which is what claims about caching are judged by.
        "shared_preload_libraries": "pg_stat_statements",
    },
    extensions=("pg_stat_statements",),
)
valkey = Valkey(
    name="valkey",
    port=2,
    settings={
        "maxmemory": "64mb",
        # Which entries make room when memory is full. Links are followed by a power law, few of
        # them nearly always. LRU keeps those as long as nothing else comes; but a guessed code, a
        # link of an import that nobody follows, is the most recent of all, once, and a row of such
        # pushes the popular ones out. LFU counts uses (new keys begin at 5), those used least go
        # first. Since replicas remember what is followed often, Valkey sees even the most
        # popular link a few times a minute only: it stands little above a newcomer, but if it has
        # to go, that costs one query a minute. What it is known to do badly, to keep what was
        # popular once, is bounded here: counts go down by one each minute, and each entry ends
        # with its TTL. Not `volatile-ttl`: the life that is left says nothing of popularity.
        # https://valkey.io/topics/lru-cache
        "maxmemory-policy": "allkeys-lfu",
    },
)
kafka = Kafka(name="kafka", port=3, controller_port=4)


def settings(site: Site, replica: str) -> Mapping[str, str]:
    """Environment of one of the week's own processes."""
    return {
        "SHORTENER_DATABASE_URL": postgres.dsn(site, site.way("postgres")),
        "SHORTENER_VALKEY_URL": f"redis://{site.way('valkey')}/0",
        "SHORTENER_KAFKA_BOOTSTRAP": site.way("kafka"),
        "SHORTENER_CLICK_LOG_DIR": str(site.data_dir("clicks") / replica),
        "SHORTENER_PUBLIC_BASE_URL": site.url("nginx"),
        "SHORTENER_CODE_KEY": site.secrets[CODE_KEY],
        "SHORTENER_VISITOR_KEY": site.secrets[VISITOR_KEY],
        "SHORTENER_OPEN_MODE": "true",
        "SHORTENER_REPLICA": replica,
        "SHORTENER_ADMIN_HOST": site.bind_host,
        TRUSTED_PROXIES: site.proxies,
    }


def server() -> tuple[str, ...]:
    """The words that start the chosen HTTP server. Raises UsageError for an unknown one."""
    name = os.environ.get("SERVER") or "week01"
    if name not in SERVERS:
        raise UsageError(f"SERVER={name} is no server: use {' or '.join(SERVERS)}")
    return SERVERS[name]


def worker(
    name: str, command: str, port: int, replica: str = "", module: str = "week04_shortener"
) -> PythonProcess:
    """A process of the week that is no HTTP service; it answers health and metrics."""
    return PythonProcess(
        name=name,
        port=port,
        needs=("setup",),
        arguments=lambda site: ("-m", module, command),
        environment=lambda site: {
            **settings(site, replica or name),
            "SHORTENER_ADMIN_PORT": str(site.ports[name]),
        },
        settings_prefix=PREFIX,
    )


def replica(
    name: str,
    port: int,
    app: str = "week04_shortener.service:create_app",
    changed: Mapping[str, str] = MappingProxyType({}),
) -> PythonProcess:
    """One API replica; `changed` are settings that are not the defaults."""
    return PythonProcess(
        name=name,
        port=port,
        needs=("setup", "valkey"),
        arguments=lambda site: (
            *(*server(), "--factory", app, "--no-access-log"),
            *("--host", site.bind_host, "--port", str(site.ports[name])),
            *("--timeout-graceful-shutdown", "5"),
        ),
        environment=lambda site: {**settings(site, name), **changed},
        settings_prefix=PREFIX,
        user_variables=("SERVER",),
        proxies_setting=TRUSTED_PROXIES,
    )


def front(name: str, port: int, replicas: tuple[str, ...]) -> Nginx:
    """The front door of some replicas."""
    return Nginx(
        name=name,
        port=port,
        needs=replicas,
        config="week04_shortener/config/nginx/shortener.conf",
        upstreams={"shortener_api": replicas},
        # More than come at once: a connection that is not kept costs as much as a redirect.
        keepalive=128,
        probe_path="/health/live",
    )


async def links(site: Site) -> str:
    """How many links are stored."""
    return f"{await _query(site, 'SELECT count(*) FROM links')} in PostgreSQL"


@dataclass(frozen=True)
class OnTheWay:
    """Where clicks are: bytes in the replicas' logs, events in Kafka, those of them not read."""

    waiting_bytes: int
    written: int
    unread: int


async def on_the_way(site: Site, reader: str = TOPIC) -> OnTheWay:
    """Where the clicks are now; `reader` is the name under which offsets are kept."""
    # Read in the order in which clicks travel: what moves on meanwhile is seen again, not missed.
    waiting = _waiting_bytes(site)
    _, written = await _bounds_in_kafka(site)
    read = await _query(
        site,
        "SELECT coalesce(sum(next_offset), 0) FROM analytics.offsets WHERE topic = $1",
        reader,
    )
    return OnTheWay(waiting, written, max(0, written - read))


async def clicks_logged(site: Site) -> str:
    """What the forwarders have still to carry; read from the logs, so also while they are dead."""
    return f"{_waiting_bytes(site)} bytes wait in the replicas' logs"


async def clicks_queued(site: Site) -> str:
    """How many events Kafka has taken, and how many of them wait for the consumer."""
    now = await on_the_way(site)
    return f"events taken by Kafka: {now.written}, not read yet: {now.unread}"


async def clicks_counted(site: Site) -> str:
    """How many clicks have arrived."""
    counted = await _query(site, "SELECT count(*) FROM analytics.clicks")
    return f"in the analytics table: {counted}"


async def dead_letters(site: Site) -> str:
    """How many messages could not be counted; `run dead-letters list` shows them."""
    first, end = await _bounds_in_kafka(site, DEAD_LETTERS)
    return f"{end - first} messages that could not be counted"


async def changes(site: Site) -> str:
    """What the relay has still to tell of changed links."""
    to_cache, to_topic = [
        await _query(site, "SELECT count(*) FROM outbox WHERE destination = $1", destination)
        for destination in ("cache", "topic")
    ]
    return f"not told yet: {to_cache} to Valkey, {to_topic} to Kafka"


def _waiting_bytes(site: Site) -> int:
    total = 0
    for name in REPLICAS:
        directory = site.data_dir("clicks") / name
        if directory.exists():
            at = cursor.load(directory)
            total += clicklog.bytes_after(directory, at.segment, at.offset)
    return total


async def cache(site: Site) -> str:
    """What the replicas' own memory and Valkey saved PostgreSQL."""
    name = "shortener_cache_lookups_total"
    hits = await metric(site, REPLICAS, name, result="hit")
    # What the first tier misses is still a lookup in the second.
    misses = await metric(site, REPLICAS, name, tier="valkey", result="miss")
    using = await metric(site, REPLICAS, "shortener_cache_up")
    return (
        f"hits: {hits:.0f}, misses: {misses:.0f} since the replicas started; "
        f"{using:.0f} of {len(REPLICAS)} replicas use it"
    )


async def _query(site: Site, sql: str, *values: str) -> int:
    database = await asyncpg.connect(postgres.dsn(site), timeout=FACTS_TIMEOUT_S, ssl=False)
    try:
        return int(await database.fetchval(sql, *values))
    finally:
        await database.close(timeout=FACTS_TIMEOUT_S)


async def _bounds_in_kafka(site: Site, name: str = TOPIC) -> tuple[int, int]:
    """The sums of the first and of the next offsets of a topic's partitions."""
    timeout_ms = int(FACTS_TIMEOUT_S * 1000)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=site.address("kafka"), request_timeout_ms=timeout_ms
    )
    admin = AIOKafkaAdminClient(
        bootstrap_servers=site.address("kafka"), request_timeout_ms=timeout_ms
    )
    try:
        await admin.start()
        await consumer.start()
        [topic] = await admin.describe_topics([name])
        partitions = [TopicPartition(name, entry["partition"]) for entry in topic["partitions"]]
        firsts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        return sum(firsts.values()), sum(ends.values())
    finally:
        await consumer.stop()
        await admin.close()


async def metric(site: Site, names: tuple[str, ...], metric: str, **labels: str) -> float:
    """Sum of a metric over several processes; one that is down counts nothing."""
    total = 0.0
    for name in names:
        try:
            answer = await http.get(site.ports[name], "/metrics", FACTS_TIMEOUT_S)
        except NotReadyError:
            continue
        total += sum(
            sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )
    return total


topology = Topology(
    week="week04",
    title="URL shortener: cache-aside, single flight, click log to Kafka, analytics",
    base_port=8400,
    secrets=(CODE_KEY, VISITOR_KEY),
    facts={
        "links": links,
        "cache": cache,
        "clicks logged": clicks_logged,
        "clicks queued": clicks_queued,
        "clicks counted": clicks_counted,
        "dead letters": dead_letters,
        "changes": changes,
    },
    command=PythonProcess(
        name="run",
        arguments=lambda site: ("-m", "week04_shortener"),
        environment=lambda site: settings(site, "run"),
        settings_prefix=PREFIX,
    ),
    try_it=(
        "curl -X POST {url}/shorten -H 'content-type: application/json' "
        """-d '{"url":"https://example.org/a"}'""",
        "curl -i {url}/CODE      # the code of the answer; then: curl {url}/stats/CODE",
        "make week04 kill SERVICE=api1      # curl goes on; make week04 start SERVICE=api1",
    ),
    faults=fault_proxy(
        "faults",
        10,
        links=(
            ProxiedLink("postgres", 11, questions.postgres()),
            ProxiedLink("valkey", 12, questions.valkey()),
            ProxiedLink("kafka", 13, questions.kafka(), behind=14),
        ),
    ),
    servers=(
        front("nginx", 0, REPLICAS),
        replica("api1", 5),
        replica("api2", 6),
        worker("forwarder1", "forwarder", 7, replica="api1"),
        worker("forwarder2", "forwarder", 8, replica="api2"),
        worker("consumer", "consumer", 9),
        worker("relay", "relay", 15),
        PythonProcess(
            name="setup",
            needs=("postgres", "kafka"),
            one_shot=True,
            arguments=lambda site: ("-m", "week04_shortener", "setup"),
            environment=lambda site: settings(site, "setup"),
            settings_prefix=PREFIX,
        ),
        postgres,
        valkey,
        kafka,
    ),
)
