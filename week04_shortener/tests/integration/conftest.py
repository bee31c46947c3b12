"""The week's own topology, running, and a client at its front door."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio
import httpx
import pytest

from infra.lab.engines.base import Engine
from infra.lab.pytest_plugin import LabFactory
from infra.lab.servers.postgres import SUPERUSER, SUPERUSER_SECRET
from week04_shortener.codes import Codec
from week04_shortener.lab import CODE_KEY, postgres, topology

AGAIN_S = 0.1
RECOVERY_S = 60.0


def eventually(what: str, holds: Callable[[], bool], within_s: float = RECOVERY_S) -> None:
    """Wait until `holds()`; fail naming `what` after `within_s` (generous: noisy machines)."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(AGAIN_S)


@dataclass(frozen=True)
class FrontDoor:
    """What a user of the shortener does, through nginx."""

    http: httpx.Client

    def shorten(self, url: str) -> httpx.Response:
        return self.http.post("/shorten", json={"url": url})

    def new_code(self, url: str) -> str:
        answer = self.shorten(url)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["code"])

    def follow(self, code: str) -> httpx.Response:
        return self.http.get(f"/{code}")

    def clicks(self, code: str) -> int:
        answer = self.http.get(f"/stats/{code}")
        return int(answer.json()["clicks"]) if answer.status_code == 200 else -1

    def follows(self, code: str, url: str) -> bool:
        """Whether the link works now; false also while nothing answers."""
        try:
            answer = self.follow(code)
        except httpx.TransportError:
            return False
        return answer.status_code == 302 and answer.headers["location"] == url


@pytest.fixture(scope="session")
def lab(running_lab: LabFactory) -> Engine:
    return running_lab(topology)


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def dsn(lab: Engine) -> str:
    """Address of the week's PostgreSQL. Its tables are everybody's: look at your own rows only."""
    return postgres.dsn(lab.site)


@pytest.fixture(scope="session")
def admin_dsn(lab: Engine) -> str:
    """Address for PostgreSQL's own administrator, who can make databases for a test alone."""
    password = lab.site.secrets[SUPERUSER_SECRET]
    return f"postgresql://{SUPERUSER}:{password}@{lab.site.address('postgres')}/postgres"


@pytest.fixture(scope="session")
def lab_codec(lab: Engine) -> Codec:
    """The codes of this instance: links made past the API must have no other."""
    return Codec(lab.site.secrets[CODE_KEY].encode())


@pytest.fixture(scope="module")
def relay_asleep(lab: Engine) -> Iterator[None]:
    """The outbox keeps its rows: who would tell them, and remove them then, is paused."""
    anyio.run(lab.pause, "relay")
    yield
    anyio.run(lab.resume, "relay")


@pytest.fixture
def door(lab: Engine) -> Iterator[FrontDoor]:
    with httpx.Client(base_url=lab.site.url("nginx"), timeout=10, trust_env=False) as client:
        yield FrontDoor(client)
