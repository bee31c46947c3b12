#!/usr/bin/env python3
"""/toxiproxy of the stand-in: Toxiproxy's options, handed to the fault proxy of this repository.

Go's options begin with one dash or with two (https://pkg.go.dev/flag).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

KNOWN = ("host", "port", "config", "seed")


def options(words: Sequence[str]) -> list[str]:
    """The same for `infra.lab.faults.proxy`. Raises ValueError for one that it does not have."""
    found = []
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-"):  # the value of the option before it
            found.append(word)
        elif name in KNOWN:
            found.append(f"--{name}{equals}{value}")
        else:
            raise ValueError(f"{word}: it has {', '.join(f'-{known}' for known in KNOWN)}")
    return found


def main() -> None:
    """Becomes the proxy."""
    try:
        given = options(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"toxiproxy stand-in: {error}")
    os.execvp("python3", ["python3", "-m", "infra.lab.faults.proxy", *given])


if __name__ == "__main__":
    main()
