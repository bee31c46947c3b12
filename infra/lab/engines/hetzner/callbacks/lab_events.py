"""Tells the lab what a playbook does: one JSON object per line, on an inherited descriptor.

Ansible loads this file by its path, beside its own display, which goes on as always.
`infra.lab.engines.hetzner.events` reads it.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-not-found]

DOCUMENTATION = """
name: lab_events
type: notification
short_description: events of a playbook as JSON lines
description: Writes plays, tasks and results to the descriptor that LAB_EVENTS_FD names.
"""
ANSWER_TAG = "lab_answer"


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Writes an event for each play, task and result."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "lab_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._out = os.fdopen(int(os.environ["LAB_EVENTS_FD"]), "w", encoding="utf-8")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._write(event="play", name=play.get_name().strip())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._write(event="task", name=task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._write(event="task", name=task.get_name().strip())

    def v2_runner_on_ok(self, result: Any) -> None:
        answer = result._result.get("stdout") if ANSWER_TAG in result._task.tags else None
        changed = bool(result._result.get("changed"))
        self._write_result(result, event="ok", changed=changed, answer=answer)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._write_result(result, event="failed", text=_why(result._result))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write_result(result, event="failed", text=_why(result._result))

    def _write_result(self, result: Any, **fields: Any) -> None:
        task = result._task.get_name().strip()
        self._write(host=result._host.get_name(), name=task, **fields)

    def _write(self, **fields: Any) -> None:
        self._out.write(json.dumps(fields, default=str) + "\n")
        self._out.flush()


def _why(result: Any) -> str:
    """What a module says of its failure; of a loop, what the first failed item says."""
    for item in result.get("results") or ():
        if item.get("failed") or item.get("unreachable"):
            return _why(item)
    if result.get("censored"):
        return str(result["censored"])
    # Of a command, and of a module that did not come to speak, the last words count.
    spoken = [result.get(name) for name in ("module_stderr", "stderr", "stdout")]
    said = next((str(text) for text in spoken if text), "").strip().rpartition("\n")[2]
    message = str(result.get("msg") or "")
    if not message or message.startswith(
        ("non-zero return code", "MODULE FAILURE", "Module result")
    ):
        return said or message or "it does not say why"
    return message
