"""Ansible's own environment: `python -m infra.ansible.environment PROGRAM ARGS...`.

Ansible and ansible-lint with all they need, from locks/ansible.txt by hash, in
`<lab home>/ansible/venv`: apart from the lab's environment, because the two want different versions
of the same packages. It is built when it is missing or the lock has changed; then the program runs
with this folder's ansible.cfg, for example

    python -m infra.ansible.environment ansible-playbook -i inventory.yml site.yml

Without a program it prints where the programs are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infra import environment
from infra.bootstrap import BootstrapError, clone_root, is_ready, lab_home

CONFIG = Path(__file__).with_name("ansible.cfg")
LOCK = "ansible"
PROGRAM = "ansible-playbook"


def folder() -> Path:
    """The environment's directory, there or not."""
    return lab_home() / "ansible" / "venv"


def is_built() -> bool:
    """Whether the environment stands as the lock wants it."""
    return is_ready(LOCK, clone_root(), folder(), PROGRAM)


def ensure() -> Path:
    """The environment's directory of programs, after building it where that is needed.

    Progress goes to stderr. Raises BootstrapError with one line for the user when it cannot be
    built.
    """
    if not is_built():
        lab_home().mkdir(parents=True, exist_ok=True)
        environment.build(LOCK, clone_root(), folder().parent, PROGRAM)
    return folder() / "bin"


def variables(programs: Path) -> dict[str, str]:
    """The caller's environment variables as Ansible's programs in that directory want them."""
    changed = {
        "ANSIBLE_CONFIG": str(CONFIG),
        "PATH": os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath))),
    }
    dropped = ("PYTHONPATH", "PYTHONHOME")
    return {k: v for k, v in os.environ.items() if k not in dropped} | changed


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status when no program takes over."""
    try:
        programs = ensure()
    except BootstrapError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the next run repairs what is half done", file=sys.stderr)
        return 130
    if not arguments:
        print(programs)
        return 0
    program = programs / arguments[0]
    if not os.access(program, os.X_OK):
        print(f"lab: no program {arguments[0]} in {programs}", file=sys.stderr)
        return 1
    os.execve(program, [str(program), *arguments[1:]], variables(programs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
