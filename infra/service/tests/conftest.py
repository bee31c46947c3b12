"""Shared by the plumbing's tests."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def anyio_backend() -> str:
    """The services run on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def fresh_log_context() -> Iterator[None]:
    """No test sees another's request id or log configuration."""
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
