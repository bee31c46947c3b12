"""The environment Ansible lives in: <lab home>/ansible/venv, made from locks/ansible.txt.

Apart from the lab's own, because Ansible pins what the services use in other versions, and who
never deploys to a machine of their own needs none of its 60 MB of collections.

    python -m infra.ansible.environment     builds it where it is missing, prints its bin folder
"""

from __future__ import annotations

import sys
from pathlib import Path

from infra import environment
from infra.bootstrap import BootstrapError, clone_root, is_ready, lab_home

LOCK = "ansible"
PROGRAM = "ansible-playbook"


def bin_dir(home: Path) -> Path:
    """Where the programs are, or will be, below a lab home."""
    return home / "ansible" / "venv" / "bin"


def is_built(clone: Path, home: Path) -> bool:
    """Whether the environment stands as the lock wants it."""
    lock = clone / "locks" / f"{LOCK}.txt"
    return lock.is_file() and is_ready(LOCK, clone, bin_dir(home).parent, PROGRAM)


def ensure(clone: Path, home: Path) -> Path:
    """Its bin folder; built first, with progress on stderr, where it is missing or out of date.

    Raises BootstrapError with one line for the user.
    """
    if not (clone / "locks" / f"{LOCK}.txt").is_file():
        raise BootstrapError(f"{clone / 'locks' / LOCK}.txt is missing: `make lock` makes it")
    if not is_built(clone, home):
        home.mkdir(parents=True, exist_ok=True)
        environment.build(LOCK, clone, home / "ansible", PROGRAM)
    return bin_dir(home)


def main() -> int:
    """Entry point; returns the exit status."""
    try:
        print(ensure(clone_root(), lab_home()))
    except BootstrapError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the next run repairs what is half done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
