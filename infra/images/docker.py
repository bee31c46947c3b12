"""Docker's command line: what is there of it, and builds with a line for each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.lab.errors import LabError
from infra.lab.servers.base import Progress

MADE_BY = "scaling-lab.made-by=infra.images"
"""Label of every image that this folder makes: by it they are found again."""
INPUTS_LABEL = "scaling-lab.inputs"
"""Label with a digest of what an image was made from: one that has it need not be made again."""
ASK_TIMEOUT_S = 30.0
BUILD_TIMEOUT_S = 1800.0
STILL_EVERY_S = 10.0
POLL_S = 0.1

INSTALL = "https://docs.docker.com/engine/install/"


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """`docker WORDS` and what it said. Raises LabError where there is no docker, or no end."""
    try:
        return subprocess.run(
            ["docker", *words], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"docker is not installed: {INSTALL}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"`docker {words[0]}` does not answer within {ASK_TIMEOUT_S:.0f} s: is its daemon well?"
        ) from error


def check_daemon() -> None:
    """Raises LabError, with what to do, unless the daemon answers this user."""
    answer = ask("version", "--format", "{{.Server.Version}}")
    if answer.returncode != 0:
        raise LabError(why_no_daemon(answer.stderr))


def check_builder() -> None:
    """Raises LabError, with what to do, unless images can be built."""
    check_daemon()
    if ask("buildx", "version").returncode != 0:
        raise LabError("docker has no buildx: install it (`sudo apt-get install docker-buildx`)")


def why_no_daemon(said: str) -> str:
    """One line from what `docker` said of a daemon that it could not ask."""
    if "permission denied" in said.lower():
        return (
            "this user may not talk to Docker's daemon: `sudo usermod -aG docker $USER`, "
            "then log in again"
        )
    return "Docker's daemon does not answer: start it (`sudo systemctl start docker`)"


def image_label(image: str, label: str) -> str | None:
    """The label of a local image, "" for one without it; None where there is no such image."""
    answer = ask("image", "inspect", "--format", f'{{{{index .Config.Labels "{label}"}}}}', image)
    return answer.stdout.strip() if answer.returncode == 0 else None


def image_id(image: str) -> str:
    """Of a local image. Raises LabError where there is none."""
    answer = ask("image", "inspect", "--format", "{{.Id}}", image)
    if answer.returncode != 0:
        raise LabError(f"there is no image {image}: {answer.stderr.strip()}")
    return answer.stdout.strip()


def made_here() -> list[str]:
    """Every local image that this folder made: `name:tag`, or the id of one that was replaced.

    Raises LabError.
    """
    words = ("--filter", f"label={MADE_BY}", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    answer = ask("image", "ls", *words)
    if answer.returncode != 0:
        raise LabError(f"docker lists no images: {answer.stderr.strip()}")
    pairs = [line.split() for line in answer.stdout.splitlines()]
    return sorted({number if "<none>" in name else name for name, number in pairs})


def build(
    image: str,
    context: Path,
    words: Sequence[str],
    log: Path,
    report: Progress,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """`docker buildx build`, its output in `log`; the image that had the name before is removed.

    Raises LabError with the line that says why.
    """
    before = ask("image", "inspect", "--format", "{{.Id}}", image).stdout.strip()
    command = [
        *("docker", "buildx", "build", "--progress", "plain", "--load", "--label", MADE_BY),
        *("--tag", image, *words, str(context)),
    ]
    run(command, f"building {image}", log, report, environ)
    if before and before != image_id(image):
        # Or each change of the code would leave one behind. One that a container runs on stays:
        # Docker refuses, and `remove` finds it later.
        ask("image", "rm", before)


def run(
    command: Sequence[str], doing: str, log: Path, report: Progress, environ: Mapping[str, str]
) -> None:
    """Runs to the end, says every while that it still does. Raises LabError when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    next_s = started_s + STILL_EVERY_S
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environ),
        )
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                now_s = time.monotonic()
                if now_s > next_s:
                    report(f"{doing}, {now_s - started_s:.0f} s")
                    next_s += STILL_EVERY_S
                if now_s - started_s > BUILD_TIMEOUT_S:
                    raise LabError(f"{doing}: no end after {BUILD_TIMEOUT_S:.0f} s (see {log})")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        why = explain(log.read_text(encoding="utf-8", errors="replace"))
        raise LabError(f"{doing}: {why} (all of it: {log})")


CAUSES = (
    (
        r"no space left on device",
        "the disk is full",
    ),
    (
        r"unable to pick chroot mode",
        "as an ordinary user it needs user namespaces (`sudo apt-get install uidmap`, and lines "
        "for you in /etc/subuid and /etc/subgid); or run this once with sudo",
    ),
    (
        r"pull access denied|failed to resolve source metadata|failed to do request"
        r"|toomanyrequests|error getting credentials",
        "an image cannot be pulled: check the network, or set OFFLINE=1 to build stand-ins",
    ),
    (r"DO NOT MATCH THE HASHES", "a downloaded package is not the one that the lock names"),
)
"""What a build says (regular expression), and what people are told; the first match wins."""


def explain(output: str) -> str:
    """One line that says why a build failed, from its output."""
    for pattern, told in CAUSES:
        if re.search(pattern, output):
            return told
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told_by_tool = [
        line for line in lines if re.search(r"(^|\s)(ERROR|E|error)\b\s?:", line)
    ] or lines
    return told_by_tool[-1] if told_by_tool else "it said nothing"


def require(program: str, package: str) -> None:
    """Raises LabError with what to install where `program` is not on PATH."""
    if shutil.which(program) is None:
        raise LabError(f"{program} is not installed: `sudo apt-get install {package}`")
