"""Week 1's playbooks on a machine: set up, verified, set up again, closed to others, removed."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.ansible.testing.docker import docker, usable
from infra.ansible.testing.hosts import Host, Run, hosts
from infra.ansible.testing.leftovers import there
from infra.ansible.testing.playbooks import Played, play
from infra.bootstrap import clone_root

pytestmark = [pytest.mark.ansible, pytest.mark.timeout(1500)]

PLAYBOOKS: Path = clone_root() / "week01_http_server" / "ansible"
ASK_TIMEOUT_S = 3.0
EXPOSED_MOST = 2.0
"""Of 10, as `systemd-analyze security` counts; a unit without a sandbox has more than 9."""


@pytest.fixture(scope="module")
def made() -> Iterator[Run]:
    why_not = usable()
    if why_not:
        pytest.skip(why_not)
    with hosts("week01", "edge=1") as run:
        yield run


def run_playbook(made: Run, name: str, *words: str) -> Played:
    return play(PLAYBOOKS / f"{name}.yml", made.inventory, *words)


def on(host: Host, *words: str) -> str:
    return docker("exec", host.container, *words)


def asked(host: Host, port: int) -> int:
    """The status that a client elsewhere gets. Raises OSError when it gets none."""
    url = f"http://{host.address}:{port}/"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=ASK_TIMEOUT_S) as answer:
        return int(answer.status)


def exposure(host: Host, unit: str) -> float:
    """What systemd thinks of a unit's sandbox, from 0 (closed) to 10."""
    told = on(host, "systemd-analyze", "security", "--no-pager", unit).splitlines()[-1]
    return float(told.partition(": ")[2].split()[0])


def test_a_machine_is_set_up_verified_and_left_as_it_was(made: Run) -> None:
    [host] = made.hosts
    before = there(host)

    run_playbook(made, "site", "--check").succeeded()
    assert there(host) == before

    first = run_playbook(made, "site").succeeded()
    assert first.changed["edge1"] > 0
    second = run_playbook(made, "site").succeeded()
    assert second.changed == {"edge1": 0}, second.output
    checked = run_playbook(made, "site", "--check").succeeded()
    assert checked.changed == {"edge1": 0}, checked.output
    run_playbook(made, "verify").succeeded()

    # Verify has to find what is missing; one unit is.
    on(host, "systemctl", "stop", "app")
    assert run_playbook(made, "verify").status != 0
    on(host, "systemctl", "start", "app")

    assert asked(host, 8080) == 200
    # The firewall drops what is not public, also where somebody listens on all addresses.
    listening = ("python3", "-m", "http.server", "--directory", "/srv", "9999")
    on(host, "systemd-run", "--quiet", "--unit=open", *listening)
    wait = "until exec 3<>/dev/tcp/127.0.0.1/9999; do sleep 0.1; done 2>/dev/null"
    on(host, "timeout", "20", "bash", "-c", wait)
    with pytest.raises((TimeoutError, urllib.error.URLError)):
        asked(host, 9999)
    on(host, "systemctl", "stop", "scaling-lab-firewall")
    assert asked(host, 9999) == 200
    on(host, "systemctl", "start", "scaling-lab-firewall")
    on(host, "systemctl", "stop", "open")

    for unit in ("web", "raw", "app", "nginx"):
        assert exposure(host, unit) <= EXPOSED_MOST, unit
    ssh = on(host, "/usr/sbin/sshd", "-T").splitlines()
    assert {"passwordauthentication no", "permitrootlogin without-password"} <= set(ssh)

    refused = run_playbook(made, "reset")
    assert refused.status != 0 and "add -e really=yes" in refused.output
    run_playbook(made, "reset", "-e", "really=yes").succeeded()
    after = there(host)
    assert after - before == frozenset()
    assert before - after == frozenset()
