"""A fault whose owner is gone is dropped by the proxy: ours alone, and harmless to Toxiproxy."""

from __future__ import annotations

import time
from typing import Any

import pytest

from infra.lab.faults.tests import peers
from infra.lab.faults.tests.peers import Api
from infra.lab.owner import Owner, this_process

pytestmark = pytest.mark.integration

DROP_TIMEOUT_S = 10.0


def leased(lease: dict[str, Any]) -> dict[str, Any]:
    return {"type": "latency", "attributes": {"latency": 1}, "lease": lease}


def wait_dropped(api: Api, path: str) -> float:
    """Seconds until no toxic is left."""
    began = time.monotonic()
    while api("GET", f"{path}/toxics")[1]:
        assert time.monotonic() - began < DROP_TIMEOUT_S
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_toxic_goes_with_its_owner(ours: Api, echo: int, name: str) -> None:
    path, _ = ours.link(name, echo)
    with peers.owner() as (text, kill):
        status, made = ours("POST", f"{path}/toxics", leased({"name": name, "owner": text}))
        assert (status, made["lease"]["owner"]) == (200, text)
        time.sleep(0.6)
        assert len(ours("GET", f"{path}/toxics")[1]) == 1
        kill()
        wait_dropped(ours, path)


def test_a_toxic_goes_when_no_heartbeat_comes(ours: Api, echo: int, name: str) -> None:
    path, _ = ours.link(name, echo)
    ours("POST", f"{path}/toxics", leased({"name": name, "ttl_s": 1.0}))
    for _ in range(8):
        time.sleep(0.25)
        assert ours("POST", f"/leases/{name}") == (200, {"name": name, "toxics": 1})
    assert wait_dropped(ours, path) >= 0.5


def test_an_owner_that_never_lived_holds_nothing(ours: Api, echo: int, name: str) -> None:
    path, _ = ours.link(name, echo)
    pid = this_process().partition(":")[0]
    ours("POST", f"{path}/toxics", leased({"name": name, "owner": f"{pid}:1.00"}))
    wait_dropped(ours, path)


def test_toxics_without_a_lease_stay(ours: Api, echo: int, name: str) -> None:
    path, _ = ours.link(name, echo)
    ours("POST", f"{path}/toxics", {"type": "latency"})
    time.sleep(0.6)
    assert len(ours("GET", f"{path}/toxics")[1]) == 1


@pytest.mark.parametrize(
    "lease", [{"name": "x"}, {"owner": "1:1"}, {"name": "x", "owner": "me"}, {"name": 3}]
)
def test_a_lease_that_says_nothing_is_refused(
    ours: Api, echo: int, name: str, lease: dict[str, Any]
) -> None:
    path, _ = ours.link(name, echo)
    assert ours("POST", f"{path}/toxics", leased(lease))[0] == 400


def test_toxiproxy_ignores_a_lease(api: Api, echo: int, name: str) -> None:
    path, _ = api.link(name, echo)
    toxic = leased({"name": name, "owner": this_process()})
    assert api("POST", f"{path}/toxics", toxic)[0] == 200


def test_owner_is_a_pid_and_a_time() -> None:
    assert Owner(this_process()).lives()
    assert not Owner("1:12.00").lives()
    with pytest.raises(ValueError):
        Owner("nobody")
