"""Week 4's playbooks on three machines: set up, verified, measured by its claims, removed."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.ansible.testing.docker import docker, usable
from infra.ansible.testing.hosts import Host, Run, hosts
from infra.ansible.testing.leftovers import there
from infra.ansible.testing.playbooks import Played, play
from infra.ansible.testing.tunnel import tunnel
from infra.bootstrap import clone_root

pytestmark = [pytest.mark.ansible, pytest.mark.timeout(1500)]

PLAYBOOKS: Path = clone_root() / "week04_shortener" / "ansible"
GROUPS = ("db+cache+queue+edge=1", "app=2")
PORT = 8400
CHECK_TIMEOUT_S = 300.0
EXPOSED_MOST = 2.0
"""Of 10, as `systemd-analyze security` counts; a unit without a sandbox has more than 9."""

TARGET_CLAIMS = 10
"""Claims of week 4 that need no more than an address and a dsn, at least."""

UNITS = {
    "db1": ("postgres", "valkey", "kafka", "nginx"),
    "app1": ("api1", "forwarder1", "consumer", "relay"),
    "app2": ("api2", "forwarder2"),
}
TAKEN_AWAY = frozenset({"file /etc/default/locale"})
"""PostgreSQL's package brings `locales`, which takes this along when it is purged."""


@dataclass(frozen=True)
class Week:
    """Three machines, and the secrets of the week on them.

    Attributes:
        secrets: file with them, as a vault would hold them.
        password: the database's.
    """

    made: Run
    secrets: Path
    password: str

    def play(self, name: str, *words: str) -> Played:
        # A lab's front door: everybody makes links, at an address that is a tunnel's end.
        lab = {"week04_public_url": f"http://127.0.0.1:{PORT}", "week04_open_mode": True}
        options = ("-e", f"@{self.secrets}", "-e", json.dumps(lab))
        return play(PLAYBOOKS / f"{name}.yml", self.made.inventory, *options, *words)

    def there(self) -> dict[str, frozenset[str]]:
        return {host.name: there(host) for host in self.made.hosts}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    why_not = usable()
    if why_not:
        pytest.skip(why_not)
    names = ("code_key", "visitor_key", "database_password", "cache_password")
    values = {f"week04_{name}": secrets.token_hex(24) for name in names}
    file = tmp_path_factory.mktemp("secrets") / "secrets.json"
    file.touch(0o600)
    file.write_text(json.dumps(values), encoding="utf-8")
    with hosts("week04", *GROUPS) as made:
        yield Week(made, file, values["week04_database_password"])


def on(host: Host, *words: str) -> str:
    return docker("exec", host.container, *words)


def exposure(host: Host, unit: str) -> float:
    """What systemd thinks of a unit's sandbox, from 0 (closed) to 10."""
    told = on(host, "systemd-analyze", "security", "--no-pager", unit).splitlines()[-1]
    return float(told.partition(": ")[2].split()[0])


def crash(host: Host, unit: str) -> None:
    """SIGKILL for its main process; then whatever systemd does until it is up again."""
    ask = ("systemctl", "show", "--value", "-p", "MainPID", unit)
    before = on(host, *ask)
    on(host, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
    # For a moment systemd still shows the one that was killed, and then none.
    again = f"""while pid=$({" ".join(ask)}); [ "$pid" = {before} ] || [ "$pid" = 0 ] ||
        ! systemctl is-active --quiet {unit}; do sleep 0.2; done"""
    on(host, "timeout", "50", "sh", "-c", again)


def judged(week: Week) -> tuple[set[str], str]:
    """The claims that held when they were measured at the front door; what the command said.

    One that did not is measured once more: the services' limits on waiting are their own, and a
    machine that does much else exceeds them.
    """
    address = week.made.host("db1").address
    dsn = f"postgresql://shortener:{week.password}@{address}/shortener"
    with tunnel(address, PORT) as port:
        words = ("--target", f"http://127.0.0.1:{port}", "--target-dsn", dsn)
        said = check(*words)
        failed = re.findall(r"^(w04\.\S+) (?:FAILED|BROKEN CHECK):", said, re.MULTILINE)
        again = check(*words, *failed) if failed else ""
    failed_again = re.findall(r"^(w04\.\S+) (?:FAILED|BROKEN CHECK):", again, re.MULTILINE)
    assert not failed_again, f"{said}\n{again}"
    held = set(re.findall(r"^(w04\.\S+) .*\bheld, no control", said, re.MULTILINE))
    return held | set(failed), f"{said}\n{again}"


def check(*words: str) -> str:
    """What `lab week04 check` prints; AssertionError when it measured nothing."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lab")), "week04", "check", *words],
        cwd=clone_root(),
        env={k: v for k, v in os.environ.items() if k != "LAB_ENGINE"} | {"COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CHECK_TIMEOUT_S,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode in (0, 1) and "claims held" in said, said
    return said


def test_three_machines_are_set_up_verified_measured_and_left_as_they_were(week: Week) -> None:
    before = week.there()
    week.play("site", "--check").succeeded()
    assert week.there() == before

    first = week.play("site").succeeded()
    second = week.play("site").succeeded()
    assert set(second.changed.values()) == {0}, second.output
    verified = week.play("verify").succeeded()
    print(
        f"site.yml {first.elapsed_s:.0f} s, again {second.elapsed_s:.0f} s, "
        f"verify.yml {verified.elapsed_s:.0f} s"
    )

    held, said = judged(week)
    print(said)
    assert len(held) >= TARGET_CLAIMS, said

    for name, units in UNITS.items():
        for unit in units:
            assert exposure(week.made.host(name), unit) <= EXPOSED_MOST, unit
    for unit in ("postgres", "valkey", "kafka"):
        crash(week.made.host("db1"), unit)
    crash(week.made.host("app1"), "consumer")
    week.play("start").succeeded()
    week.play("verify").succeeded()

    week.play("stop").succeeded()
    assert week.play("verify").status != 0
    week.play("start").succeeded()
    week.play("verify").succeeded()

    refused = week.play("reset")
    assert refused.status != 0 and "add -e really=yes" in refused.output
    week.play("reset", "-e", "really=yes").succeeded()
    after = week.there()
    assert {name: found - before[name] for name, found in after.items()} == dict.fromkeys(
        before, frozenset()
    )
    assert {name: before[name] - found - TAKEN_AWAY for name, found in after.items()} == (
        dict.fromkeys(before, frozenset())
    )


def test_what_is_missing_is_said_before_anything_is_changed(week: Week, tmp_path: Path) -> None:
    none = play(PLAYBOOKS / "site.yml", week.made.inventory)
    assert none.status != 0
    assert "week04_code_key is missing or short: group_vars/all/vault.sample.yml" in none.output
    assert sum(none.changed.values()) == 0

    inventory = json.loads(week.made.inventory.read_text(encoding="utf-8"))
    del inventory["all"]["children"]["cache"]
    lacking = tmp_path / "inventory.json"
    lacking.write_text(json.dumps(inventory), encoding="utf-8")
    unplaced = play(PLAYBOOKS / "site.yml", lacking, "-e", f"@{week.secrets}")
    assert unplaced.status != 0
    assert "the group cache must have one host" in unplaced.output
    assert sum(unplaced.changed.values()) == 0
