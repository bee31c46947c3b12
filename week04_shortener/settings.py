"""Every setting of the shortener: its unit, its default, and what it decides.

The environment variable of a setting is its name in capitals after ``SHORTENER_``. All processes
of the week take the same set, so that one environment starts any of them.
"""

import ipaddress
import re
import socket
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from infra.service.requests import Network
from infra.service.settings import ServiceSettings
from week04_shortener.codes import Codec
from week04_shortener.targets.rules import own_host
from week04_shortener.targets.urls import accept

_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]{1,5})?")
"""One of PostgreSQL's hosts (its manual, section 32.1.1.2): either part may be missing."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _postgres(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("not a postgresql:// address")
    if not all(map(_HOST_PORT.fullmatch, parts.netloc.rpartition("@")[2].split(","))):
        raise ValueError("a port is no number, or a password has / ? # and not %2F %3F %23")
    return value


def _valkey(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("not a redis:// address")
    try:
        _ = parts.port
    except ValueError:  # its own words show the value
        raise ValueError("the port is no number from 0 to 65535") from None
    return value


def _code_key(value: SecretStr) -> SecretStr:
    Codec(value.get_secret_value().encode())
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if not 16 <= len(value.get_secret_value().encode()) <= 64:
        raise ValueError("not 16 to 64 bytes")
    return value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("not an http:// or https:// address")
    if not value.isascii():  # it goes into headers
        raise ValueError("not ASCII")
    accept(value, max_chars=MAX_BASE_URL_CHARS)
    own_host(value)
    return value.rstrip("/")


MAX_BASE_URL_CHARS = 1024

SEGMENT_DAYS = 0.25
"""Kafka removes whole segments, which are no older than this when the next one begins: a message
may outlive its retention by so much, and by the few minutes between two looks."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]

MAX_REFILL_S = 30 * 86_400
"""Longer than this a limit need not remember anybody."""


class Settings(ServiceSettings):
    """All settings, checked and frozen. Only entry points make one."""

    model_config = SettingsConfigDict(env_prefix="SHORTENER_")

    # Where things are
    database_url: Annotated[SecretStr, AfterValidator(_postgres)] = Field(
        description="address of PostgreSQL, postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )
    valkey_url: Annotated[SecretStr, AfterValidator(_valkey)] = Field(
        description="address of Valkey, redis://HOST:PORT/0"
    )
    kafka_bootstrap: Annotated[str, Field(pattern=r"^[^:,\s]+:\d+(,[^:,\s]+:\d+)*$")] = Field(
        description="Kafka brokers to ask first, HOST:PORT[,HOST:PORT...]"
    )
    click_log_dir: Path = Field(
        description="directory of this replica's click log, one directory for each replica"
    )
    public_base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="address of the front door, which short links begin with, http://HOST[:PORT]"
    )
    code_key: Annotated[SecretStr, AfterValidator(_code_key)] = Field(
        description="secret of 16 to 64 bytes that orders the short codes, never changed"
    )
    replica: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")] = Field(
        default_factory=socket.gethostname,
        description="name of this replica, up to 63 of A-Z a-z 0-9 . _ -",
    )
    admin_host: str = Field(
        "127.0.0.1",
        description="address on which the workers' health and metrics are served",
    )
    admin_port: int = Field(
        0, ge=0, le=65_535, description="port for it, 0 to 65535; 0 takes a free one and logs it"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split)] = Field(
        (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")),
        description="networks of the proxies whose X-Request-ID and X-Forwarded-For are believed, "
        "comma-separated",
    )
    open_mode: bool = Field(
        False,
        description="true lets everybody make links and keys without a key; only where the public "
        "address is loopback",
    )
    visitor_key: Annotated[SecretStr, AfterValidator(_long_enough)] = Field(
        description="secret of 16 to 64 bytes that visitors' addresses are hashed with"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least important level that is logged, DEBUG, INFO, WARNING or ERROR"
    )

    # Requests
    max_body_bytes: int = Field(8192, ge=256, description="largest request body, bytes")
    max_url_chars: int = Field(2048, ge=16, le=4096, description="longest target URL, characters")
    max_import_bytes: int = Field(
        1024 * 1024, ge=1024, le=16 * 1024 * 1024, description="largest CSV file, bytes"
    )
    max_import_rows: int = Field(
        5000, ge=1, le=100_000, description="links made of one CSV file at most"
    )
    max_bulk_links: int = Field(100, ge=1, le=1000, description="links made by one request at most")
    idempotency_hours: float = Field(
        24.0, gt=0, le=720, description="how long an Idempotency-Key is remembered, hours"
    )
    max_streams: int = Field(
        100, ge=1, le=10_000, description="live click counters that one replica serves at once"
    )

    # Targets that are refused
    allow_private_targets: bool = Field(
        False, description="true lets links lead to private, loopback and link-local addresses"
    )
    block_list: Path | None = Field(
        None, description="file of host names, one a line, to which no link may lead"
    )

    # Limits on callers
    write_burst: int = Field(
        2000, ge=1, le=1_000_000, description="writes, and reads, that one address may make at once"
    )
    writes_per_s: float = Field(
        200.0,
        gt=0,
        le=100_000,
        description="writes, and reads, that one address may go on making each second",
    )
    key_writes: int = Field(
        600, ge=1, le=1_000_000, description="writes of one API key in each window at most"
    )
    key_window_s: Seconds = Field(60.0, description="the window of it, seconds")
    password_tries: int = Field(
        5, ge=1, le=1000, description="passwords that one address may try for one link in a minute"
    )

    # PostgreSQL
    database_pool_size: int = Field(8, ge=1, le=200, description="connections per process, 1-200")
    database_connect_timeout_s: Seconds = Field(2.0, description="limit on connecting, seconds")
    database_timeout_s: Seconds = Field(
        2.0, description="limit on waiting for a connection, and again on each query, seconds"
    )

    # Cache
    cache_ttl_s: Seconds = Field(3600.0, description="life of a cached link, seconds")
    cache_negative_ttl_s: Seconds = Field(
        10.0, description="life of a cached 'there is no such link', seconds"
    )
    cache_ttl_jitter: float = Field(
        0.1, ge=0, lt=1, description="random share taken off a life, 0 to below 1"
    )
    cache_timeout_s: Seconds = Field(0.1, description="limit on one cache operation, seconds")
    cache_pool_size: int = Field(32, ge=1, le=1000, description="connections to Valkey, 1-1000")
    cache_failures_to_open: int = Field(
        3, ge=1, description="failures in a row after which the cache is left alone"
    )
    cache_open_s: Seconds = Field(
        1.0, description="how long the cache is left alone before it is tried again, seconds"
    )
    local_ttl_s: Seconds = Field(
        1.0, description="how old what a replica remembers of a link may be, seconds"
    )
    local_most_s: Seconds = Field(
        60.0, description="how long it remembers a link while it hears of all changes, seconds"
    )
    local_entries: int = Field(
        10_000, ge=0, le=1_000_000, description="links in a replica's own memory; 0 keeps none"
    )
    early_refresh: float = Field(
        1.0,
        ge=0,
        le=10,
        description="how eagerly an entry is renewed before it ends; 0 never does, more is earlier",
    )
    fills: int = Field(
        6,
        ge=1,
        le=200,
        description="lookups in PostgreSQL that one replica makes at once, 1-200; below "
        "SHORTENER_DATABASE_POOL_SIZE, or links cannot be made while redirects need all of it",
    )
    fill_wait_s: Seconds = Field(
        2.0, description="how long a redirect waits for its turn to ask PostgreSQL, seconds"
    )
    lease_ttl_s: Seconds = Field(
        1.0,
        description="how long a replica that died keeps the others from asking for what it was "
        "asking for, seconds",
    )
    lease_wait_s: Seconds = Field(
        0.5,
        description="how long a replica waits for what another is asking for before it asks "
        "itself, seconds",
    )

    # Click log
    click_segment_bytes: int = Field(
        16 * 1024 * 1024, ge=4096, description="size at which a new segment begins, bytes"
    )
    forward_poll_s: Seconds = Field(
        0.1, le=10, description="how long clicks gather before the forwarder sends them, seconds"
    )
    forward_batch_bytes: int = Field(
        256 * 1024, ge=8192, description="click log read and sent at once, bytes, 8192 or more"
    )

    # Kafka
    clicks_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "clicks", description="topic of the click events"
    )
    clicks_partitions: int = Field(3, ge=1, le=1000, description="its partitions, 1-1000")
    clicks_retention_days: float = Field(
        7.0,
        gt=0,
        le=365,
        description="how long Kafka keeps clicks and dead letters, days; after that what was not "
        "read, or not replayed, is lost",
    )
    kafka_replication: int = Field(
        1, ge=1, le=9, description="copies Kafka keeps of each topic, 1-9"
    )
    kafka_request_timeout_s: Seconds = Field(
        10.0, ge=1, description="limit on one request to Kafka, seconds, 1 or more"
    )
    consumer_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "shortener-analytics", description="consumer group of the analytics consumers"
    )
    consumer_session_timeout_s: Seconds = Field(
        10.0,
        ge=6,
        le=1800,
        description="silence after which Kafka takes a consumer for dead, seconds",
    )
    consumer_batch: int = Field(
        500, ge=1, le=5000, description="messages written in one transaction at most, 1-5000"
    )

    dead_letter_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "clicks-dead", description="topic of messages that cannot be counted"
    )
    links_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "links", description="topic of the changes of links"
    )
    dedupe_days: float = Field(
        8.0,
        gt=0,
        le=365,
        description="how long a click's id is recognised again, days; longer than Kafka keeps it",
    )

    # Outbox and housekeeping
    relay_poll_s: Seconds = Field(
        0.1, le=10, description="how often the relay looks for changes, seconds"
    )
    relay_batch: int = Field(200, ge=1, le=5000, description="changes told at once at most, 1-5000")
    housekeeping_s: Seconds = Field(
        60.0, description="how often what is too old is removed, seconds"
    )

    # Starting, retrying, ending
    start_timeout_s: Seconds = Field(
        60.0, description="how long a process waits for its servers when it starts, seconds"
    )
    retry_first_s: Seconds = Field(0.1, description="first delay after a failure, seconds")
    retry_most_s: Seconds = Field(5.0, description="longest delay between attempts, seconds")
    drain_s: Seconds = Field(5.0, description="time to finish work after SIGTERM, seconds")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.retry_first_s > self.retry_most_s:
            raise ValueError("SHORTENER_RETRY_FIRST_S must not exceed SHORTENER_RETRY_MOST_S")
        # `cache.aside.Lifetimes.fill_limit_s` leaves this half of it to a write that is under way.
        shortest_s = min(self.cache_ttl_s, self.cache_negative_ttl_s) * (1 - self.cache_ttl_jitter)
        if self.cache_timeout_s > shortest_s / 2:
            raise ValueError(
                "SHORTENER_CACHE_TIMEOUT_S must not exceed half of the shortest life of an entry: "
                "of SHORTENER_CACHE_TTL_S or SHORTENER_CACHE_NEGATIVE_TTL_S less the jitter"
            )
        if self.max_body_bytes < self.max_url_chars + 256:
            raise ValueError(
                "SHORTENER_MAX_BODY_BYTES must exceed SHORTENER_MAX_URL_CHARS by 256 or more"
            )
        if self.dedupe_days < self.clicks_retention_days + SEGMENT_DAYS * 2:
            raise ValueError(
                "SHORTENER_DEDUPE_DAYS must exceed SHORTENER_CLICKS_RETENTION_DAYS by "
                f"{SEGMENT_DAYS * 2:g} or more: what Kafka still has must be recognised"
            )
        if self.write_burst / self.writes_per_s > MAX_REFILL_S:
            raise ValueError(
                "SHORTENER_WRITE_BURST takes more than 30 days to come back at "
                "SHORTENER_WRITES_PER_S: lower the one or raise the other"
            )
        if self.open_mode and not _is_loopback(self.public_base_url):
            raise ValueError(
                "SHORTENER_OPEN_MODE is for loopback only, and SHORTENER_PUBLIC_BASE_URL is not: "
                "make keys with `python -m week04_shortener keys` instead"
            )
        return self


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
