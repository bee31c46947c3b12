"""What is read from a running playbook, and from one that could not run."""

from __future__ import annotations

import json

import pytest

from infra.lab.engines.hetzner.events import TEXT_MAX, Course, Failure, explain, one_line

# What ansible-core 2.19 printed when these things were done to it.
ANSIBLE_SAID = {
    "the vault stays closed": (
        "[ERROR]: Attempting to decrypt but no vault secrets found.\n"
        "Origin: /srv/week04_shortener/ansible/group_vars/all/vault.yml\n"
    ),
    "INVENTORY is no inventory": (
        "[WARNING]: Unable to parse /srv/inventory.yml as an inventory source\n"
        "[ERROR]: Completely failed to parse inventory source /srv/inventory.yml\n"
    ),
    "the playbook: site.yml could not be found": (
        "[ERROR]: the playbook: site.yml could not be found\n"
    ),
    "couldn't resolve module/action": (
        "ERROR! couldn't resolve module/action 'no.such.module'. This often indicates a\n"
        "misspelling, missing collection, or incorrect module path.\n"
    ),
}


def tell(**event: object) -> str:
    return json.dumps(event)


def test_plays_and_tasks_are_told_results_are_counted() -> None:
    course = Course()
    assert course.take(tell(event="play", name="Set up")) == "Set up"
    assert course.take(tell(event="task", name="base : Write")) == "Set up: base : Write"
    assert course.take(tell(event="ok", host="a", name="Write", changed=True)) is None
    assert course.take(tell(event="ok", host="b", name="Write", changed=False, answer="x")) is None
    assert course.hosts == {"a", "b"} and course.changed == 1 and course.answers == {"b": "x"}


def test_a_failure_names_host_task_and_reason_in_one_line() -> None:
    course = Course()
    line = course.take(tell(event="failed", host="db1", name="Install", text="no\n  network"))
    assert line == "db1: Install: no network"
    assert course.failures == [Failure("db1", "Install", "no network")]
    assert course.hosts == set()


@pytest.mark.parametrize("line", ["", "PLAY RECAP", "[1]"])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|no event"):
        Course().take(line)


def test_a_message_is_not_longer_than_a_line_may_be() -> None:
    assert one_line("a\tb\n c") == "a b c"
    assert len(one_line("x" * 5000)) == TEXT_MAX


@pytest.mark.parametrize("expected", ANSIBLE_SAID)
def test_a_playbook_that_cannot_begin_is_explained(expected: str) -> None:
    line = explain(ANSIBLE_SAID[expected])
    assert expected in line and "\n" not in line


def test_the_last_line_stands_where_nothing_else_is_known() -> None:
    assert explain("something\nstrange happened\n") == "strange happened"
    assert explain("") == "ansible-playbook failed"
