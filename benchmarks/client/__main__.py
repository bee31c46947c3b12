"""`python -m benchmarks.client URL`: one run of the counting client. Wiring only."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from benchmarks.client import plan as limits
from benchmarks.client import report
from benchmarks.client.plan import Plan, Target, parse_target
from benchmarks.client.process import run, run_in_loop
from benchmarks.client.requests import Request, Source, always
from benchmarks.client.results import Result
from benchmarks.measurement import here, of_client
from infra.lab.errors import LabError, UsageError

INTERRUPTED = 128 + signal.SIGINT
WITH_FAULTS = 3
"""Exit status where the run went through but not every answer was right."""


def command(
    url: Annotated[str, typer.Argument(help="http://127.0.0.1:PORT/path")],
    rate: Annotated[
        float | None, typer.Option(help="Open loop: requests a second. Without it: closed loop.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to send.")] = Plan.seconds,
    requests: Annotated[int, typer.Option(help="At most so many.")] = limits.REQUESTS_MAX,
    connections: Annotated[int, typer.Option(help="Most in flight.")] = Plan.connections,
    new_connections: Annotated[
        bool, typer.Option("--new-connections", help="A connection for each request.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for one attempt.")] = Plan.timeout_s,
    retries: Annotated[int, typer.Option(help="For idempotent requests.")] = Plan.retries,
    method: Annotated[str, typer.Option(help="GET, POST, ...")] = "GET",
    header: Annotated[list[str] | None, typer.Option(help="'Name: value', repeatable.")] = None,
    body: Annotated[str, typer.Option(help="Request body.")] = "",
    status: Annotated[list[int] | None, typer.Option(help="Right status; default 200.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Address of a host of your own, besides loopback.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
) -> None:
    """Send load to URL and count what becomes of every request."""
    target, path = parse_target(url, tuple(allow_host or ()))
    plan = Plan(
        rate_per_s=rate,
        seconds=seconds,
        requests=requests,
        connections=connections,
        keep_alive=not new_connections,
        timeout_s=timeout,
        retries=retries,
    )
    try:
        request = Request(
            method=method.upper(),
            path=path,
            headers=tuple(_header(line) for line in header or ()),
            body=body.encode(),
            status=frozenset(status or {200}),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.absolute().parent} for the results")
    environment = here()
    result = run_in_loop(lambda: _stoppable(target, always(request), plan))
    sys.stdout.write(report.text(result) + "\n")
    if output is not None:
        output.write_text(json.dumps(of_client(result, environment)) + "\n")
    raise typer.Exit(0 if result.ok == result.due else WITH_FAULTS)


async def _stoppable(target: Target, source: Source, plan: Plan) -> Result:
    """A run that Ctrl-C ends early, with what was measured until then."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run(
        target,
        source,
        plan,
        stop=stop,
        on_progress=lambda progress: _say(report.progress_line(progress)),
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise UsageError(f"{line!r} is no header: write 'Name: value'")
    return name.strip(), value.strip()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    """Run the command; a mistake is one line and status 2."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.command()(command)
    try:
        status = typer.main.get_command(app)(standalone_mode=False)
    except LabError as error:
        status = _fail(str(error), error.exit_code)
    except TyperException as error:
        status = _fail(" ".join(error.format_message().split()) + " (--help lists all)", 2)
    except (KeyboardInterrupt, typer.Abort):
        status = _fail("interrupted", INTERRUPTED)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        status = _fail(f"{error.strerror or error}{where}", 1)
    sys.exit(status)


def _fail(line: str, status: int) -> int:
    _say(f"client: {line}")
    return status


if __name__ == "__main__":
    main()
