"""Every setting of the shortener: its unit, its default, and what it decides.

The environment variable of a setting is its name in capitals after ``SHORTENER_``. All processes
of the week take the same set, so that one environment starts any of them.
"""

import ipaddress
import socket
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from infra.service.requests import Network
from infra.service.settings import ServiceSettings
from week04_shortener.codes import Codec


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _postgres(value: SecretStr) -> SecretStr:
    if urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
        raise ValueError("not a postgresql:// address")
    return value


def _valkey(value: SecretStr) -> SecretStr:
    if urlsplit(value.get_secret_value()).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("not a redis:// address")
    return value


def _code_key(value: SecretStr) -> SecretStr:
    Codec(value.get_secret_value().encode())
    return value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("not an http:// or https:// address")
    return value.rstrip("/")


Seconds = Annotated[float, Field(gt=0, le=86_400)]


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
        description="address the forwarder's and consumer's health and metrics listen on",
    )
    admin_port: int = Field(
        0, ge=0, le=65_535, description="port for it, 0 to 65535; 0 takes a free one and logs it"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split)] = Field(
        (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")),
        description="networks of the proxies whose X-Request-ID is believed, comma-separated",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least important level that is logged, DEBUG, INFO, WARNING or ERROR"
    )

    # Requests
    max_body_bytes: int = Field(8192, ge=256, description="largest request body, bytes")
    max_url_chars: int = Field(2048, ge=16, le=4096, description="longest target URL, characters")

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
        0.05, le=10, description="how often the forwarder looks for new clicks, seconds"
    )
    forward_batch_bytes: int = Field(
        256 * 1024, ge=8192, description="click log read and sent at once, bytes, 8192 or more"
    )

    # Kafka
    clicks_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(
        "clicks", description="topic of the click events"
    )
    clicks_partitions: int = Field(3, ge=1, le=1000, description="its partitions, 1-1000")
    kafka_replication: int = Field(1, ge=1, le=9, description="copies Kafka keeps of it, 1-9")
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
        if self.max_body_bytes < self.max_url_chars + 256:
            raise ValueError(
                "SHORTENER_MAX_BODY_BYTES must exceed SHORTENER_MAX_URL_CHARS by 256 or more"
            )
        return self
