"""The lease's two commands on a real Valkey."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from prometheus_client import CollectorRegistry

from infra.lab.engines.base import Engine
from week04_shortener.cache.valkey import ValkeyCache

pytestmark = pytest.mark.integration


def test_a_lease_is_one_holders_until_given_back_or_over(lab: Engine) -> None:
    anyio.run(_take_and_release, f"redis://{lab.site.address('valkey')}/0")


async def _take_and_release(url: str) -> None:
    tokens = ValkeyCache(
        url, timeout_s=5, pool_size=4, failures_to_open=3, open_s=1, registry=CollectorRegistry()
    )
    try:
        assert await tokens.take("test:lease", "mine", ttl_s=30)
        assert not await tokens.take("test:lease", "yours", ttl_s=30)
        await tokens.release("test:lease", "yours")
        assert not await tokens.take("test:lease", "yours", ttl_s=30), "it was not yours to give"
        await tokens.release("test:lease", "mine")
        assert await tokens.take("test:lease", "yours", ttl_s=0.05)
        await asyncio.sleep(0.2)
        assert await tokens.take("test:lease", "mine", ttl_s=0.05), "it was over"
    finally:
        await tokens.close()
