"""The docker command: asked, told, and followed while it builds; nothing here knows a week."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream

from infra.lab.engines.compose import messages
from infra.lab.errors import LabError, MissingServerError

ASK_TIMEOUT_S = 60.0
TAIL_MAX_CHARS = 20_000

# A user's own would lead our commands to another project, or add services to ours.
_NOT_PASSED_ON = ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the docker command: the user's, and `more`."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    return {**kept, **(more or {})}


def ask(what: str, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """What `docker WORDS` prints. Raises LabError in one line; `what` was to be done."""
    done = _run(what, words, env)
    if done.returncode != 0:
        raise messages.explain(what, done.stderr or done.stdout)
    return done.stdout


def _run(
    what: str,
    words: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """`docker WORDS` to its end, whatever came of it. Raises LabError without Docker or an end."""
    try:
        return subprocess.run(
            ["docker", *words],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            timeout=ASK_TIMEOUT_S,
            start_new_session=True,  # a Ctrl-C is for the lab, which decides what ends
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingServerError(messages.NO_DOCKER) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"{what}: Docker did not answer within {ASK_TIMEOUT_S:.0f} s: see its own log"
        ) from error


def ask_json(what: str, *words: str | Path, env: Mapping[str, str] | None = None) -> Any:
    """The JSON that `docker WORDS` prints. Raises LabError, also for what is none."""
    printed = ask(what, *words, env=env)
    try:
        return json.loads(printed)
    except ValueError as error:
        raise LabError(f"{what}: Docker's answer is no JSON: update Docker") from error


def inspect(names: Sequence[str]) -> list[dict[str, Any]]:
    """What Docker knows of these containers; those that it does not have are left out."""
    if not names:
        return []
    what = "asking for the containers"
    done = _run(what, ["container", "inspect", *names])
    missing = [line for line in done.stderr.splitlines() if "No such container" in line]
    if done.returncode != 0 and not missing:
        raise messages.explain(what, done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


async def tell(what: str, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """As `ask`, without a limit of its own; ended when the caller is cancelled."""
    lines: list[str] = []
    await follow(what, words, lines.append, env=env)
    return "".join(lines)


async def follow(
    what: str,
    words: Iterable[str | Path],
    heard: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = ("docker",),
) -> None:
    """Run it and hand on what it prints, piece by piece. Raises LabError as `ask` does."""
    said = ""

    async def read(stream: ByteReceiveStream | None) -> None:
        nonlocal said
        assert stream is not None
        async for text in TextReceiveStream(stream, errors="replace"):
            said = (said + text)[-TAIL_MAX_CHARS:]
            heard(text)

    try:
        process = await anyio.open_process(
            [*program, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env=environment(env),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingServerError(messages.NO_DOCKER) from error
    async with process:
        try:
            await read(process.stdout)
            status = await process.wait()
        except BaseException:
            process.terminate()
            raise
    if status != 0:
        raise messages.explain(what, said)


def logs(container: str, *options: str) -> str:
    """All that a container wrote, each line behind its time. Raises LabError."""
    what = f"reading the log of {container}"
    done = _run(what, ["logs", "--timestamps", *options, container], stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise messages.explain(what, done.stdout)
    return done.stdout


def follow_logs(container: str, since: str) -> subprocess.Popen[bytes]:
    """A process whose output, never waited for, is what the container writes from `since` on."""
    options = ["--since", since] if since else []
    try:
        reader = subprocess.Popen(
            ["docker", "logs", "--timestamps", "--follow", *options, container],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError as error:
        raise MissingServerError(messages.NO_DOCKER) from error
    assert reader.stdout is not None
    os.set_blocking(reader.stdout.fileno(), False)
    return reader
