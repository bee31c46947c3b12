"""What a user of the lab can get wrong, said in one line that tells what to do."""

from __future__ import annotations


class LabError(Exception):
    """A failure that the user can act on.

    `str(error)` is one line: what is wrong and, after a colon or a comma, what to do about it.
    The command prints that line and leaves with `exit_code`; it never shows a traceback for it.
    """

    exit_code = 1


class UsageError(LabError):
    """The words of the command or a setting are wrong; nothing was touched."""

    exit_code = 2


class MissingServerError(LabError):
    """A real server (or a file of it) is not on this machine."""


class NotReadyError(Exception):
    """A server's own answer to "are you ready?" was no; its text says why."""
