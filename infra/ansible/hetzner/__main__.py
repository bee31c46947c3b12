"""Makes and removes servers: `python -m infra.ansible.hetzner up|down [--week weekNN] [--yes]`.

Runs create.yml or destroy.yml in Ansible's own environment. Without --yes both only say what they
would do: what would be made and its price per hour, or what would be removed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from infra.ansible import environment
from infra.bootstrap import BootstrapError

FOLDER = Path(__file__).parent
PLAYBOOKS = {"up": "create.yml", "down": "destroy.yml"}


def command(words: list[str]) -> list[str]:
    """The ansible-playbook command for the words of ours; leaves with status 2 for a wrong one."""
    parser = argparse.ArgumentParser(prog="hetzner", description=__doc__)
    parser.add_argument("verb", choices=sorted(PLAYBOOKS))
    parser.add_argument("--week", help="up: whose servers; down: whose alone (all by default)")
    parser.add_argument("--yes", action="store_true", help="really do it")
    parser.add_argument("--check", action="store_true", help="ask the API, change nothing")
    given = parser.parse_args(words)
    extra = [f"week={given.week}"] if given.week else []
    extra += ["yes=1"] if given.yes else []
    options = [word for pair in extra for word in ("-e", pair)]
    options += ["--check"] if given.check else []
    return ["ansible-playbook", str(FOLDER / PLAYBOOKS[given.verb]), *options]


def main(words: list[str]) -> int:
    """Entry point; returns ansible-playbook's exit status."""
    asked = command(words)
    try:
        environ = environment.variables(environment.ensure())
    except BootstrapError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    environ["ANSIBLE_CONFIG"] = str(FOLDER / "ansible.cfg")
    return subprocess.run(asked, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
