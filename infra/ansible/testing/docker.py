"""The few docker commands the test hosts need, with one line for whatever stands in the way."""

from __future__ import annotations

import subprocess

COMMAND_TIMEOUT_S = 60.0
IMPORT_TIMEOUT_S = 300.0


class HostsError(RuntimeError):
    """Something the user can put right; the message is one line that says how."""


def docker(*words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """What `docker WORDS...` printed, without the last line feed.

    Raises HostsError when docker is missing, its daemon does not answer or the command fails.
    """
    try:
        done = subprocess.run(
            ["docker", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise HostsError("there is no docker here: apt install docker.io") from None
    except subprocess.TimeoutExpired:
        raise HostsError(f"docker {words[0]} took more than {timeout_s:g} s") from None
    if done.returncode != 0:
        raise HostsError(_explained(words, done.stderr))
    return done.stdout.rstrip("\n")


def _explained(words: tuple[str, ...], said: str) -> str:
    """One line out of docker's own words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = lines[0] if lines else "it said nothing"
    if "permission denied" in text:
        return "docker refuses this user: join the group docker, or run as root"
    if "Cannot connect to the Docker daemon" in text:
        return "the docker daemon does not answer: systemctl start docker"
    return f"docker {' '.join(words[:2])}: {text.removeprefix('Error response from daemon: ')}"


def usable() -> str:
    """Why hosts cannot be made here, in one line; empty when they can."""
    try:
        docker("info", "--format", "{{.ServerVersion}}")
    except HostsError as error:
        return str(error)
    return ""
