"""A proxy process and an echo server for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.lab.faults.tests import peers


@pytest.fixture(scope="session", params=peers.PEERS)
def api(request: pytest.FixtureRequest) -> Iterator[peers.Api]:
    """Of our proxy, then of Toxiproxy."""
    with peers.proxy_process(request.param) as running:
        yield running


@pytest.fixture(scope="session")
def ours() -> Iterator[peers.Api]:
    """What only ours has, or does better."""
    with peers.proxy_process("ours") as running:
        yield running


@pytest.fixture(scope="session")
def echo() -> Iterator[int]:
    """Port of an echo server."""
    with peers.server() as port:
        yield port


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for a proxy that no other test uses."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:150]
