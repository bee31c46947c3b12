"""Entry point of the Valkey stand-in, as upstream's docker-entrypoint.sh.

Words that are options, or a configuration file, are given to valkey-server. As root the working
directory is handed to the image's user, and the server runs under it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

SERVER = "valkey-server"
UID = 999


def command_of(words: Sequence[str]) -> list[str]:
    """What is run for the words of `command:`.

    Upstream's server is compiled with its protected mode off, because a container's ports are open
    to nobody unless they are published.
    """
    given = [*words] or [SERVER]
    if given[0].startswith("-") or given[0].endswith(".conf"):
        given = [SERVER, *given]
    if given[0] != SERVER:
        return given
    file = given[1:2] if given[1:2] and not given[1].startswith("-") else []
    return [SERVER, *file, "--protected-mode", "no", *given[1 + len(file) :]]


def main() -> None:
    """Becomes the command."""
    command = command_of(sys.argv[1:])
    if command[0] == SERVER:
        if os.getuid() == 0:
            for path in (Path.cwd(), *Path.cwd().rglob("*")):
                os.chown(path, UID, UID)
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)
        elif not os.access(Path.cwd(), os.W_OK):
            sys.exit(f"{Path.cwd()} is not writable by the user of this container ({os.getuid()})")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
