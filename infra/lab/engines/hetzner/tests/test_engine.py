"""The engine's verbs, with a program in ansible-playbook's place."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from infra.lab.engines.base import Event, State
from infra.lab.engines.hetzner.engine import HetznerEngine, HetznerSettings
from infra.lab.engines.hetzner.making import inventory_of
from infra.lab.engines.hetzner.tests import fake_ansible_playbook
from infra.lab.engines.hetzner.tests.test_units import ANSWER, WEEK
from infra.lab.errors import LabError, UsageError

OK = {"event": "ok", "host": "app1", "name": "Do", "changed": True}


class Stage:
    """A folder of playbooks, an inventory, and what the fake is to tell of each playbook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._script: dict[str, Any] = {}
        (folder / "playbooks").mkdir()
        for name in ("site.yml", "reset.yml"):
            (folder / "playbooks" / name).touch()
        (folder / "inventory.yml").touch()
        program, fake = folder / "ansible-playbook", folder / "fake.py"
        shutil.copyfile(fake_ansible_playbook.__file__, fake)  # it finds its script beside itself
        # The interpreter in no script's first line: its path may have a space in it.
        words = shlex.join([sys.executable, str(fake)])
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        self.tells("ask.yml", {**OK, "answer": ANSWER})
        self.events: list[Event] = []

    def tells(self, playbook: str, *events: object, **more: object) -> None:
        self._script[playbook] = {"events": events, **more}
        (self.folder / "script.json").write_text(json.dumps(self._script))

    def engine(self) -> HetznerEngine:
        return HetznerEngine(
            WEEK,
            HetznerSettings(
                clone=self.folder,
                home=self.folder,
                root=self.folder / "root",
                playbooks=self.folder / "playbooks",
                inventory=self.folder / "inventory.yml",
                environ={"PATH": f"{self.folder}:{os.environ['PATH']}"},
            ),
        )

    def do(self, verb: str, *words: object) -> HetznerEngine:
        engine = self.engine()
        method: Callable[..., Any] = getattr(engine, verb)
        reports = verb in ("up", "down", "start", "stop")
        anyio.run(method, *([*words, self.events.append] if reports else words))
        return engine

    def runs(self) -> list[dict[str, Any]]:
        lines = (self.folder / "runs.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def played(self) -> list[str]:
        return [run["playbook"] for run in self.runs()]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_status_is_asked_of_the_hosts_and_the_addresses_are_remembered(stage: Stage) -> None:
    engine = stage.engine()
    rows = {row.name: row.state for row in engine.status()}
    assert rows == {"api": State.RUNNING, "worker": State.STOPPED, "cache": State.PAUSED}
    assert engine.is_up()
    assert stage.played() == ["ask.yml"]  # is_up did not ask again
    [run] = stage.runs()
    assert run["inventory"] == str(stage.folder / "inventory.yml")
    assert "valkey-server.service" in run["extra"]["lab_units"]
    assert stage.engine().site.url("api") == "http://10.0.0.5:9800"


def test_the_address_of_what_no_host_runs_is_not_made_up(stage: Stage) -> None:
    with pytest.raises(LabError, match=r"no host of the inventory runs api: `make week98 up"):
        stage.engine().site.url("api")


def test_a_secret_of_the_machines_is_not_here(stage: Stage) -> None:
    with pytest.raises(LabError, match=r"^code_key is in the vault of the machines: what needs it"):
        stage.engine().site.secrets["code_key"]


def test_up_sets_up_starts_what_stands_still_and_verifies(stage: Stage) -> None:
    (stage.folder / "playbooks" / "verify.yml").touch()
    play, task = {"event": "play", "name": "Set up"}, {"event": "task", "name": "Install"}
    stage.tells("site.yml", play, task, OK)
    stage.do("up")
    assert stage.played() == [
        *("ask.yml", "site.yml", "ask.yml", "act.yml", "verify.yml", "ask.yml")
    ]
    texts = [event.text for event in stage.events]
    assert texts[:3] == ["asking the hosts", "Set up", "Set up: Install"]
    assert "set up 1 hosts, 1 changes" in texts and "every service answers" in texts


def test_up_starts_nothing_where_all_runs(stage: Stage) -> None:
    stage.tells("ask.yml", {**OK, "answer": ANSWER.replace("Process=T", "Process=S")})
    stage.do("up")
    assert stage.played() == ["ask.yml", "site.yml", "ask.yml", "ask.yml"]


def test_up_gives_a_killed_service_its_restart_policy_back(stage: Stage) -> None:
    stage.tells("ask.yml", {**OK, "answer": ANSWER.replace("Process=S", "Killed=yes")})
    stage.do("up")
    assert stage.played()[:3] == ["ask.yml", "act.yml", "site.yml"]
    wanted = {"lab_verb": "forget", "lab_units": {"app1": ["api.service"]}}
    assert stage.runs()[1]["extra"] == wanted


def test_the_weeks_own_start_and_stop_come_first(stage: Stage) -> None:
    for name in ("start.yml", "stop.yml"):
        (stage.folder / "playbooks" / name).touch()
    stage.do("up")
    stage.do("down")
    assert stage.played() == [
        *("ask.yml", "site.yml", "ask.yml", "start.yml", "ask.yml", "stop.yml")
    ]


def test_down_stops_only_what_hosts_have(stage: Stage) -> None:
    stage.do("down")
    [stopped] = [run["extra"] for run in stage.runs() if run["playbook"] == "act.yml"]
    units = {"app1": ["api.service", "valkey-server.service"]}
    assert stopped == {"lab_verb": "stop", "lab_units": units}


@pytest.mark.parametrize("verb", ["kill", "crash", "pause", "resume"])
def test_a_fault_goes_to_the_host_that_has_the_service(stage: Stage, verb: str) -> None:
    stage.do(verb, "cache")
    assert stage.runs()[-1] == {
        "playbook": "act.yml",
        "extra": {"lab_verb": verb, "lab_units": {"app1": ["valkey-server.service"]}},
        "inventory": str(stage.folder / "inventory.yml"),
    }


def test_a_service_that_no_host_has_is_not_started_somewhere(stage: Stage) -> None:
    with pytest.raises(LabError, match=r"^no host of the inventory has worker\.service: `make"):
        stage.do("start", ["worker"])
    with pytest.raises(UsageError, match="setup runs once and ends"):
        stage.do("kill", "setup")
    assert "act.yml" not in stage.played()


def test_a_failed_task_is_one_line_and_the_log_has_the_rest(stage: Stage) -> None:
    failed = {"event": "failed", "host": "db1", "name": "Install", "text": "no network"}
    stage.tells("site.yml", failed, status=2, print="the whole story")
    with pytest.raises(LabError, match=r"^db1: Install: no network \(whole log: .*ansible\.log\)$"):
        stage.do("up")
    log = stage.folder / "root" / "logs" / "ansible.log"
    assert "the whole story" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_failure_that_the_playbook_answers_itself_is_none(stage: Stage) -> None:
    failed = {"event": "failed", "host": "app1", "name": "Try", "text": "not ready"}
    stage.tells("site.yml", failed, OK)
    stage.do("up")
    stage.tells("site.yml", failed, {**failed, "text": "took the release back"}, status=2)
    with pytest.raises(LabError, match=r"^app1: Try: took the release back \(whole log"):
        stage.do("up")


def test_a_playbook_that_cannot_begin_is_explained(stage: Stage) -> None:
    said = "[ERROR]: Attempting to decrypt but no vault secrets found."
    stage.tells("site.yml", status=4, print=said)
    with pytest.raises(LabError, match="set ANSIBLE_VAULT_PASSWORD_FILE"):
        stage.do("up")


def test_an_inventory_without_the_playbooks_hosts_is_no_success(stage: Stage) -> None:
    stage.tells("site.yml", print="skipping: no hosts matched")
    with pytest.raises(LabError, match=r"inventory\.yml has no host that site\.yml is for"):
        stage.do("up")


def test_an_answer_that_is_no_answer_is_one_line(stage: Stage) -> None:
    stage.tells("ask.yml", {**OK, "answer": "bash: systemctl: command not found"})
    with pytest.raises(LabError, match="a host answers what the lab cannot read"):
        stage.engine().status()


def test_a_cancelled_run_interrupts_the_playbook(stage: Stage) -> None:
    stage.tells("site.yml", {"event": "play", "name": "Set up"}, hangs=True)

    async def cancel_once_it_runs() -> None:
        async with anyio.create_task_group() as group:

            def told(event: Event) -> None:
                if event.text == "Set up":
                    group.cancel_scope.cancel()

            await stage.engine()._up(told)

    anyio.run(cancel_once_it_runs)
    assert (stage.folder / "interrupted").exists()


def test_clean_takes_all_off_the_hosts_and_forgets_them(stage: Stage) -> None:
    engine = stage.engine()
    engine.status()
    engine.clean()
    assert stage.runs()[-1]["playbook"] == "reset.yml"
    assert stage.runs()[-1]["extra"] == {"really": "yes"}
    assert not (stage.folder / "root").exists()


def test_logs_come_from_the_journals_of_the_hosts(stage: Stage) -> None:
    line = json.dumps({"__CURSOR": "c", "MESSAGE": "hello", "_SYSTEMD_UNIT": "api.service"})
    stage.tells("journal.yml", {**OK, "answer": line})
    log = stage.engine().log("api")
    assert log.exists() and list(log.new_lines()) == ["hello"]
    asked = stage.runs()[-1]["extra"]
    assert asked["lab_units"] == {"app1": ["api.service", "valkey-server.service"]}


def test_ansible_that_is_not_there_is_one_line(stage: Stage) -> None:
    (stage.folder / "ansible-playbook").unlink()
    if shutil.which("ansible-playbook"):
        pytest.skip("skipped: this machine has an ansible-playbook of its own")
    with pytest.raises(LabError, match=r"python -m infra\.ansible\.environment"):
        stage.engine().status()


def test_which_inventory_is_asked_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^which machines\? INVENTORY=FILE; copy .*sample\.yml"):
        inventory_of({}, tmp_path)
    with pytest.raises(UsageError, match=r"^INVENTORY=/none\.yml: there is no such file"):
        inventory_of({"INVENTORY": "/none.yml"}, tmp_path)
    (tmp_path / "mine.yml").touch()
    assert inventory_of({"INVENTORY": str(tmp_path / "mine.yml")}, tmp_path).name == "mine.yml"
