"""The cache of all replicas as the settings have it: the API reads it, the relay tells it."""

import random

from prometheus_client import CollectorRegistry

from week04_shortener.cache.aside import Lifetimes
from week04_shortener.cache.valkey import ValkeyCache
from week04_shortener.settings import Settings


def cache_of(settings: Settings, registry: CollectorRegistry) -> ValkeyCache:
    """A client of it."""
    return ValkeyCache(
        settings.valkey_url.get_secret_value(),
        timeout_s=settings.cache_timeout_s,
        pool_size=settings.cache_pool_size,
        failures_to_open=settings.cache_failures_to_open,
        open_s=settings.cache_open_s,
        registry=registry,
    )


def lifetimes_of(settings: Settings) -> Lifetimes:
    """How long entries live in it."""
    return Lifetimes(
        settings.cache_ttl_s,
        settings.cache_negative_ttl_s,
        settings.cache_ttl_jitter,
        random.random,
    )
