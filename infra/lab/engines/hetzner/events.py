"""What Ansible tells while a playbook runs, and its last word when it cannot even begin."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TEXT_MAX = 400
# First match wins: what Ansible prints (regular expression) and what the user is told.
CAUSES = (
    (
        r"no vault secrets|[Dd]ecryption failed|vault password",
        "the vault stays closed: set ANSIBLE_VAULT_PASSWORD_FILE to the file with its password",
    ),
    (
        r"Completely failed to parse inventory source (\S+)|Unable to parse (\S+) as an inventory",
        "INVENTORY is no inventory that Ansible understands",
    ),
)


@dataclass(frozen=True)
class Failure:
    """Where a playbook stopped, and what the module said there."""

    host: str
    task: str
    text: str

    def __str__(self) -> str:
        return f"{self.host}: {self.task}: {self.text}"


@dataclass
class Course:
    """How a playbook went, filled in line by line.

    Attributes:
        answers: what a host answered to a task with the tag `lab_answer`.
        hosts: those that have done at least one task.
        changed: number of results that changed something.
    """

    play: str = ""
    task: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)
    changed: int = 0
    failures: list[Failure] = field(default_factory=list)

    def take(self, line: str) -> str | None:
        """Read one line; returns what to tell the user of it, None where that is nothing.

        Raises ValueError for what is no event.
        """
        event = json.loads(line)
        if not isinstance(event, dict):
            raise ValueError(f"no event: {line[:80]!r}")
        kind, name = str(event["event"]), str(event["name"])
        if kind == "play":
            self.play = name
            return name
        if kind == "task":
            self.task = name
            return f"{self.play}: {name}"
        return self._take_result(kind, str(event["host"]), name, event)

    def _take_result(self, kind: str, host: str, task: str, event: Mapping[str, Any]) -> str | None:
        if kind == "failed":
            failure = Failure(host, task, one_line(str(event["text"])))
            self.failures.append(failure)
            return str(failure)
        self.hosts.add(host)
        self.changed += bool(event.get("changed"))
        if isinstance(answer := event.get("answer"), str):
            self.answers[host] = answer
        return None


def one_line(text: str) -> str:
    """`text` without line ends and not longer than a message may be."""
    flat = " ".join(text.split())
    return flat if len(flat) <= TEXT_MAX else flat[: TEXT_MAX - 3] + "..."


def explain(output: str) -> str:
    """One line that says why ansible-playbook ended before any task failed, from its output."""
    for pattern, message in CAUSES:
        if re.search(pattern, output):
            return message
    errors = re.findall(r"^(?:\[ERROR\]:|ERROR!)\s*(.+)$", output, re.MULTILINE)
    if errors:
        return one_line(errors[-1])
    return one_line(output.strip().rpartition("\n")[2]) or "ansible-playbook failed"
