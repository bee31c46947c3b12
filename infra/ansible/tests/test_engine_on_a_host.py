"""The engine for machines on a real systemd, with real Ansible: every verb, and what goes wrong."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from infra.ansible import environment
from infra.ansible.testing.docker import docker, usable
from infra.ansible.testing.hosts import Host, hosts
from infra.lab.engines.base import Event, ServiceStatus, State
from infra.lab.engines.hetzner.engine import HetznerEngine, HetznerSettings
from infra.lab.engines.hetzner.runner import Runner
from infra.lab.errors import LabError
from infra.lab.servers.python import PythonProcess
from infra.lab.topology import Topology

pytestmark = [pytest.mark.ansible, pytest.mark.timeout(600)]

ASK_TIMEOUT_S = 3.0
SOON_S = 30.0
DEAD_FOR_S = 4.0  # RestartSec is 1 s
SITE = """
- name: Set up week 98
  hosts: edge
  gather_facts: false
  tasks:
    - name: Write the unit
      ansible.builtin.copy:
        dest: /etc/systemd/system/front.service
        mode: "0644"
        content: |
          [Service]
          ExecStart=/usr/bin/python3 -u -m http.server 9800
          WorkingDirectory=/etc/systemd
          Restart=always
          RestartSec=1
    - name: Start it
      ansible.builtin.systemd_service: { name: front.service, state: started, daemon_reload: true }
"""
VERIFY = """
- name: Verify week 98
  hosts: edge
  gather_facts: false
  tasks:
    - name: Ask for the page
      ansible.builtin.uri: { url: "http://127.0.0.1:9800/" }
      register: page
      until: page.status == 200
      retries: 20
      delay: 0.5
"""
RESET = """
- name: Remove week 98
  hosts: edge
  gather_facts: false
  tasks:
    - name: Check that it is meant
      ansible.builtin.assert: { that: really == 'yes' }
    - name: Stop it
      ansible.builtin.systemd_service: { name: front.service, state: stopped }
    - name: Remove the unit
      ansible.builtin.file: { path: /etc/systemd/system/front.service, state: absent }
    - name: Let systemd forget it
      ansible.builtin.systemd_service: { daemon_reload: true }
"""
BROKEN = """
- name: Break
  hosts: all
  gather_facts: false
  tasks:
    - name: Go wrong
      {task}
"""
WEEK = Topology(
    week="week98",
    title="test",
    base_port=9800,
    servers=(
        PythonProcess(name="front", port=0, arguments=lambda site: (), environment=lambda site: {}),
    ),
)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    why_not = usable()
    if why_not:
        pytest.skip(f"skipped: {why_not}")
    environment.ensure()
    with hosts(f"engine-{os.getpid()}", "edge=1") as run:
        yield run.hosts[0]


def inventory(folder: Path, container: str, address: str) -> Path:
    path = folder / "inventory.json"
    reached = {
        "ansible_host": container,
        "lab_address": address,
        "ansible_connection": "community.docker.docker",
    }
    path.write_text(json.dumps({"all": {"children": {"edge": {"hosts": {"edge1": reached}}}}}))
    return path


def runner(folder: Path, where: Path) -> Runner:
    environ = environment.variables(environment.folder() / "bin")
    return Runner(where, environ, folder / "ansible.log")


class Lab:
    """The engine on that host, and a client of the page that it serves."""

    def __init__(self, folder: Path, host: Host) -> None:
        playbooks = folder / "playbooks"
        playbooks.mkdir()
        for name, text in (("site", SITE), ("verify", VERIFY), ("reset", RESET)):
            (playbooks / f"{name}.yml").write_text(text)
        self.engine = HetznerEngine(
            WEEK,
            HetznerSettings(
                clone=folder,
                home=folder,
                root=folder / "root",
                playbooks=playbooks,
                inventory=inventory(folder, host.container, host.address),
                environ=environment.variables(environment.folder() / "bin"),
            ),
        )
        self.told: list[str] = []

    def report(self, event: Event) -> None:
        self.told.append(event.text)

    def front(self) -> ServiceStatus:
        [row] = self.engine.status()
        return row

    def answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(self.engine.site.url("front"), timeout=ASK_TIMEOUT_S) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


def soon(what: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    until_s = time.monotonic() + SOON_S
    while time.monotonic() < until_s:
        if what():
            return True
        time.sleep(0.2)
    return False


def test_every_verb_does_on_a_host_what_it_says(host: Host, tmp_path: Path) -> None:
    lab = Lab(tmp_path, host)
    engine = lab.engine
    assert lab.front().state is State.STOPPED and not engine.is_up()

    anyio.run(engine.up, lab.report)
    assert "Set up week 98: Write the unit" in lab.told and "every service answers" in lab.told
    row = lab.front()
    assert row.state is State.RUNNING and row.address == f"{host.address}:9800"
    assert row.pid and row.uptime_s is not None and row.uptime_s < 300
    assert lab.answers()

    anyio.run(engine.pause, "front")
    assert lab.front().state is State.PAUSED and not lab.answers()
    anyio.run(engine.resume, "front")
    assert soon(lab.answers)

    anyio.run(engine.kill, "front")
    assert not lab.answers()
    time.sleep(DEAD_FOR_S)
    assert lab.front().state is State.STOPPED and not lab.answers()
    with pytest.raises(
        LabError, match=r"^edge1: .*: front\.service is not running: start it first"
    ):
        anyio.run(engine.kill, "front")
    anyio.run(engine.start, ["front"], lab.report)
    assert soon(lab.answers)
    assert any('"GET / HTTP/1.1" 200' in line for line in engine.log("front").new_lines())

    # A kill does not outlive an `up` either: what crashes then comes back.
    anyio.run(engine.kill, "front")
    anyio.run(engine.up, lab.report)
    anyio.run(engine.crash, "front")
    assert soon(lambda: lab.answers() and lab.front().restarts == 1)

    anyio.run(engine.down, lab.report)
    assert lab.front().state is State.STOPPED
    engine.clean()
    found = docker("exec", host.container, "ls", "/etc/systemd/system", "/run/systemd/system")
    assert "front.service" not in found
    assert not engine.site.root.exists()


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("ansible.builtin.fail: { msg: no such luck }", "edge1: Go wrong: no such luck"),
        ("ansible.builtin.command: ls /no/such", "edge1: Go wrong: ls: cannot access '/no/such'"),
        (
            "ansible.builtin.fail: { msg: 'item {{ item }}' }\n      loop: [first, second]",
            "edge1: Go wrong: item first",
        ),
        (
            "ansible.builtin.fail: { msg: secret }\n      no_log: true",
            "edge1: Go wrong: the output",
        ),
        ("ansible.builtin.debug: { msg: '{{ missing }}' }", "'missing' is undefined"),
        ("no.such.module: {}", "couldn't resolve module/action 'no.such.module'"),
    ],
)
def test_a_failure_is_told_in_one_line(host: Host, tmp_path: Path, task: str, line: str) -> None:
    playbook = tmp_path / "broken.yml"
    playbook.write_text(BROKEN.replace("{task}", task))
    where = inventory(tmp_path, host.container, host.address)
    with pytest.raises(LabError) as raised:
        anyio.run(runner(tmp_path, where).run, playbook, {}, lambda text: None)
    told = str(raised.value)
    assert line in told and "\n" not in told and "secret" not in told


def test_a_host_that_is_not_there_is_told_in_one_line(host: Host, tmp_path: Path) -> None:
    playbook = tmp_path / "ping.yml"
    playbook.write_text(BROKEN.replace("{task}", "ansible.builtin.ping:"))
    where = inventory(tmp_path, "no-such-container", "127.0.0.1")
    with pytest.raises(LabError, match=r"^edge1: Go wrong: .*no-such-container"):
        anyio.run(runner(tmp_path, where).run, playbook, {}, lambda text: None)


def test_what_is_no_inventory_is_told_in_one_line(host: Host, tmp_path: Path) -> None:
    playbook = tmp_path / "ping.yml"
    playbook.write_text(BROKEN.replace("{task}", "ansible.builtin.ping:"))
    where = tmp_path / "inventory.yml"
    where.write_text("[[[")
    with pytest.raises(LabError, match=r"^INVENTORY is no inventory that Ansible understands"):
        anyio.run(runner(tmp_path, where).run, playbook, {}, lambda text: None)
