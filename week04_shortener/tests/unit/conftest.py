"""Shared by the unit tests: no server, no network."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio only."""
    return "asyncio"
