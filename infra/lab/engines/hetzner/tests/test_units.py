"""What the hosts tell of units as the lab's status, and the scripts that ask and act there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.lab.engines.base import State
from infra.lab.engines.hetzner import units
from infra.lab.engines.hetzner.engine import OWN
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey
from infra.lab.topology import Topology

ANSWER = """
Address=10.0.0.5
Uptime=1000.50

Asked=api.service
MainPID=2271
NRestarts=2
MemoryCurrent=31457280
LoadState=loaded
ActiveState=active
SubState=running
ActiveEnterTimestampMonotonic=900500000
Process=S

Asked=nope.service
LoadState=not-found
ActiveState=inactive

Asked=valkey-server.service
MainPID=17
NRestarts=0
MemoryCurrent=[not set]
LoadState=loaded
ActiveState=active
SubState=running
ActiveEnterTimestampMonotonic=1000000
Process=T
"""


def process(name: str, port: int | None, *, one_shot: bool = False) -> PythonProcess:
    return PythonProcess(
        name=name,
        port=port,
        one_shot=one_shot,
        arguments=lambda site: (),
        environment=lambda site: {},
    )


WEEK = Topology(
    week="week98",
    title="test",
    base_port=9800,
    servers=(
        *(process("api", 0), process("worker", 1), process("setup", None, one_shot=True)),
        Valkey(name="cache", port=2),
    ),
)


def test_an_answer_becomes_the_units_that_the_host_has() -> None:
    found = units.parse("app1", ANSWER)
    assert [(unit.name, unit.state) for unit in found] == [
        ("api.service", State.RUNNING),
        ("valkey-server.service", State.PAUSED),
    ]
    assert {unit.address for unit in found} == {"10.0.0.5"}


def test_status_has_a_row_for_each_service_in_the_weeks_order() -> None:
    rows = units.statuses(WEEK, units.parse("app1", ANSWER), WEEK.ports({}))
    api, worker, cache = rows  # setup is no unit anywhere: it runs while the week is set up
    assert (api.name, api.state, api.address, api.pid) == (
        *("api", State.RUNNING, "10.0.0.5:9800", 2271),
    )
    assert api.memory_bytes == 30 * 2**20 and api.restarts == 2
    assert api.uptime_s == pytest.approx(100.0)
    assert (worker.name, worker.state, worker.pid) == ("worker", State.STOPPED, None)
    assert (cache.name, cache.state, cache.address) == ("cache", State.PAUSED, "app1")
    assert cache.memory_bytes is None


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"ActiveState": "active", "SubState": "running", "Process": "R"}, State.RUNNING),
        ({"ActiveState": "active", "SubState": "exited"}, State.DONE),
        ({"ActiveState": "activating", "SubState": "start"}, State.STARTING),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, State.RESTARTING),
        ({"ActiveState": "failed"}, State.FAILED),
        ({"ActiveState": "failed", "Killed": "yes"}, State.STOPPED),
        ({"ActiveState": "inactive"}, State.STOPPED),
    ],
)
def test_systemds_words_are_said_in_the_labs(told: dict[str, str], state: State) -> None:
    assert units.Unit("h", "h", "a.service", told, 1.0).state is state


@pytest.mark.parametrize("answer", ["", "sh: systemctl: not found", "Address=a\nUptime=soon"])
def test_another_answer_is_refused(answer: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        units.parse("h", answer)


class FakeSystemctl:
    """A `systemctl` that writes down its words and knows the units named in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "systemctl"
        program.write_text(
            '#!/bin/sh\necho "$*" >> "$0.log"\n'
            'case "$1 $*" in\n'
            '    is-active*) [ -e "$0.active" ] ;;\n'
            '    *--property=MainPID\\ --value) echo "$(cat "$0.pid" 2>/dev/null || echo 0)" ;;\n'
            "    *ActiveState\\ --value) echo failed ;;\n"
            "    show*) printf 'MainPID=0\\nLoadState=loaded\\nActiveState=inactive\\n' ;;\n"
            "esac\n"
        )
        program.chmod(0o755)

    def running(self) -> FakeSystemctl:
        (self._folder / "systemctl.active").touch()
        return self

    def run(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-s", *words],
            input=(OWN / script).read_text().replace("/run/systemd", f"{self._folder}/run"),
            env={"PATH": f"{self._folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> list[str]:
        return (self._folder / "systemctl.log").read_text().splitlines()


@pytest.fixture
def systemctl(tmp_path: Path) -> FakeSystemctl:
    return FakeSystemctl(tmp_path)


def test_the_question_and_its_reader_agree(systemctl: FakeSystemctl) -> None:
    done = systemctl.run("ask.sh", "10.0.0.5", "api.service", "worker.service")
    assert done.returncode == 0, done.stderr
    found = units.parse("app1", done.stdout)
    assert [unit.name for unit in found] == ["api.service", "worker.service"]
    assert found[0].host_uptime_s > 0 and found[0].state is State.STOPPED


def test_a_killed_unit_cannot_come_back_until_it_is_started(
    systemctl: FakeSystemctl, tmp_path: Path
) -> None:
    override = tmp_path / "run" / "system" / "api.service.d" / "90-lab-killed.conf"
    assert systemctl.running().run("act.sh", "kill", "api.service").returncode == 0
    assert override.read_text() == "[Service]\nRestart=no\n"
    asked = systemctl.asked()
    # The policy must be lifted before the signal, else systemd is quicker.
    assert asked.index("daemon-reload") < asked.index("kill --signal=KILL api.service")
    assert "Killed=yes" in systemctl.run("ask.sh", "a", "api.service").stdout

    assert systemctl.run("act.sh", "start", "api.service").returncode == 0
    assert not override.parent.exists()
    assert systemctl.asked()[-3:] == [
        "daemon-reload",
        "reset-failed api.service",
        "start api.service",
    ]


@pytest.mark.parametrize(
    ("verb", "last"),
    [
        ("crash", "kill --signal=KILL --kill-whom=main api.service"),
        ("pause", "kill --signal=STOP api.service"),
        ("resume", "kill --signal=CONT api.service"),
        ("stop", "stop api.service"),
    ],
)
def test_verbs_are_systemctls(systemctl: FakeSystemctl, verb: str, last: str) -> None:
    assert systemctl.running().run("act.sh", verb, "api.service").returncode == 0
    assert systemctl.asked()[-1] == last


@pytest.mark.parametrize("verb", ["kill", "crash", "pause", "resume"])
def test_what_does_not_run_cannot_be_hurt(systemctl: FakeSystemctl, verb: str) -> None:
    done = systemctl.run("act.sh", verb, "api.service")
    assert done.returncode == 1
    assert done.stderr == "api.service is not running: start it first\n"
    assert systemctl.asked() == ["is-active --quiet api.service"]
