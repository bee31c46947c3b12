"""The `lab` command: `lab weekNN VERB`. The only entry point of infra.lab; wiring happens here."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import anyio
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from infra.bootstrap import BootstrapError, clone_root
from infra.lab import console, doctor, fault_verb, handing_over, logs, starter_verb, wiring
from infra.lab.engines.base import Engine, ServiceStatus
from infra.lab.errors import LabError, UsageError
from infra.lab.fault_verb import Wish
from infra.lab.topology import Topology
from infra.lab.weeks import packages, title, topology
from infra.lab.wiring import EngineOption

LOG_LINES = 20
INTERRUPTED = 128 + signal.SIGINT


def _service_names(context: typer.Context, incomplete: str) -> list[str]:
    """Completion of a service's name."""
    week = context.parent.info_name if context.parent else None
    try:
        names = topology(clone_root(), week or "").names
    except LabError:
        return []
    return [name for name in names if name.startswith(incomplete)]


ServiceArgument = Annotated[str, typer.Argument(help="Service.", autocompletion=_service_names)]
ServicesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Services; all when none is named.", autocompletion=_service_names),
]


def build_app() -> typer.Typer:
    """The command with one sub-command per week that this clone has."""
    app = typer.Typer(
        help="Eight weeks, eight real services, each started by one command.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for week, package in packages(clone_root()).items():
        app.add_typer(_week_app(week), name=week, help=title(clone_root(), package))
    app.command("doctor")(_doctor)
    return app


def _doctor() -> None:
    """What this machine can run, and what is missing for the rest."""
    raise typer.Exit(doctor.show(console.stdout(), clone_root()))


def _week_app(week: str) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    def up(
        faults: Annotated[
            bool, typer.Option("--faults", help="Lead the links through the fault proxy.")
        ] = False,
        engine: EngineOption = wiring.DEFAULT_ENGINE,
    ) -> None:
        """Start everything, wait until it answers, print the addresses."""
        declared, lab = _engine(week, engine, faults)
        out = console.stderr()
        with console.Progress(out, declared.names) as progress:
            anyio.run(lambda: lab.up(progress))
        _print_addresses(declared, lab)

    @app.command()
    def down(engine: EngineOption = wiring.DEFAULT_ENGINE) -> None:
        """Stop everything, keep the data."""
        declared, lab = _engine(week, engine)
        if not lab.site.root.exists():
            console.stdout().print(f"{week} was never up")
            return
        was_up = lab.is_up()
        with console.Progress(console.stderr(), declared.names) as progress:
            anyio.run(lambda: lab.down(progress))
        text = "is down, its data stays" if was_up else "was not up"
        console.stdout().print(f"{week} {text} (./lab {week} clean erases it)")

    @app.command()
    def status(
        as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
        engine: EngineOption = wiring.DEFAULT_ENGINE,
    ) -> None:
        """Version, address, pid, memory and uptime of each service; the week's own figures."""
        declared, lab = _engine(week, engine)
        rows = [*lab.status(), *lab.overhead()]
        out = console.stdout()
        if as_json:
            out.print(json.dumps([dataclasses.asdict(row) for row in rows]), markup=False)
            return
        out.print(console.status_table(rows))
        if not lab.is_up():
            out.print(f"\n{week} is down: make {week} up")
        elif declared.facts:
            out.print()
            out.print(console.facts_table(_facts(declared, lab)))

    @app.command("logs")
    def show_logs(
        services: ServicesArgument = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on.")] = False,
        lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = LOG_LINES,
        engine: EngineOption = wiring.DEFAULT_ENGINE,
    ) -> None:
        """The last lines of each service's log."""
        declared, lab = _engine(week, engine)
        names = [declared.server(name).name for name in services or declared.names]
        readers = {name: lab.log(name) for name in names}
        if not any(reader.exists() for reader in readers.values()):
            raise LabError(f"there are no logs yet: make {week} up")
        with contextlib.suppress(KeyboardInterrupt):  # the way to leave `--follow`
            logs.show(console.stdout(), readers, lines, follow)

    @app.command()
    def clean(
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        engine: EngineOption = wiring.DEFAULT_ENGINE,
    ) -> None:
        """Stop everything and erase the week's data, after asking."""
        declared, lab = _engine(week, engine)
        root = lab.site.root
        if not root.exists():
            console.stdout().print(f"{week} has no data: nothing to erase")
            return
        if not yes and not _confirmed(f"Erase all data of {week} in {root}?"):
            raise LabError("nothing was erased")
        with console.Progress(console.stderr(), declared.names) as progress:
            anyio.run(lambda: lab.down(progress))
        lab.clean()
        console.stdout().print(f"the data of {week} is erased")

    _add_service_verbs(app, week)
    _add_fault(app, week)
    handing_over.add(app, week)
    starter_verb.add(app, week)
    return app


def _add_service_verbs(app: typer.Typer, week: str) -> None:
    """kill, crash, pause, resume, stop and start of one service."""

    def add(verb: str, help_text: str, done: str) -> None:
        def command(
            service: ServiceArgument = "", engine: EngineOption = wiring.DEFAULT_ENGINE
        ) -> None:
            declared, lab = _engine(week, engine)
            if not service:
                names = ", ".join(server.name for server in declared.servers if not server.one_shot)
                raise UsageError(f"{verb} which service? SERVICE=NAME with make; names: {names}")
            declared.server(service)
            if verb in ("start", "stop"):
                with console.Progress(console.stderr(), [service]) as progress:
                    anyio.run(lambda: getattr(lab, verb)([service], progress))
            else:
                anyio.run(lambda: getattr(lab, verb)(service))
            console.stdout().print(f"{service} {done}")

        app.command(verb, help=help_text)(command)

    add("kill", "SIGKILL; it stays dead until `start`.", "is killed: it stays dead until `start`")
    add("crash", "SIGKILL; the restart policy brings it back.", "has crashed: it comes back")
    add("pause", "SIGSTOP: it keeps its connections and answers nothing.", "is paused")
    add("resume", "SIGCONT after `pause`.", "goes on")
    add("stop", "An orderly stop.", "is stopped")
    add("start", "Start it after `stop` or `kill`, and wait until it answers.", "is up")


def _add_fault(app: typer.Typer, week: str) -> None:
    @app.command()
    def fault(
        service: Annotated[
            str, typer.Argument(help="Where the link leads.", autocompletion=_service_names)
        ] = "",
        kind: Annotated[
            str, typer.Argument(help="The fault, or clear.", autocompletion=fault_verb.kinds_like)
        ] = "",
        value: Annotated[str, typer.Argument(help="200ms of latency, 50KB/s.")] = "",
        jitter: Annotated[str, typer.Option(help="Of a latency: 20ms.")] = "",
        stands: Annotated[str, typer.Option("--for", help="30s, 5m; else until clear.")] = "",
        stream: Annotated[str, typer.Option(help="down (from the server) or up.")] = "",
        engine: EngineOption = wiring.DEFAULT_ENGINE,
    ) -> None:
        """Put a fault on a link, or clear it; alone it lists the links."""
        declared, lab = _engine(week, engine)
        wish = Wish(service, kind, value, jitter, stream, stands)
        out = console.stdout()
        anyio.run(lambda: fault_verb.run(declared, lab, wish, partial(out.print, markup=False)))


def _engine(week: str, engine: str, faults: bool | None = None) -> tuple[Topology, Engine]:
    return wiring.engine(topology(clone_root(), week), engine, os.environ, faults)


def _facts(declared: Topology, lab: Engine) -> list[tuple[str, str]]:
    async def ask() -> list[tuple[str, str]]:
        rows = []
        for label, fact in declared.facts.items():
            try:
                rows.append((label, await fact(lab.site)))
            except Exception as error:  # a dead server must not hide the other rows
                rows.append((label, f"not to be had now ({type(error).__name__})"))
        return rows

    return anyio.run(ask)


def _print_addresses(declared: Topology, lab: Engine) -> None:
    out = console.stdout()
    site = lab.site
    rows: list[ServiceStatus] = lab.status()
    shown = [(row.name, row.address) for row in rows if row.address]
    out.print(f"\n{declared.week} is up: {declared.title}\n")
    out.print(console.facts_table(shown))
    if declared.try_it:
        out.print("\nTry:")
        for line in declared.try_it:
            out.print(f"  {line.replace('{url}', site.url(declared.front))}", markup=False)


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to ask: say it with --yes (make: YES=1)")
    return typer.confirm(question)


def _checked(command: TyperGroup, words: list[str]) -> list[str]:
    """The words to run: as they are, or asking for help where no verb is named.

    Raises UsageError for an unknown week or verb, in one line with the list.
    """
    known: Mapping[str, object] = command.commands
    for word in words[:2]:
        if word.startswith("-"):
            return words
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            guess = f", did you mean {near[0]}?" if near else f": lab knows {', '.join(known)}"
            raise UsageError(f"there is no {word!r}{guess}")
        found = known[word]
        if not isinstance(found, TyperGroup):
            return words
        known = found.commands
    return [*words, "--help"]


def main() -> None:
    """Run the command; every failure a user can act on is one line and an exit status."""
    os.umask(0o022)  # servers under another user must be able to enter what is created
    for number in (signal.SIGTERM, signal.SIGHUP):  # ended from outside, or the terminal closed
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # probes fail while Kafka starts
    try:
        command = typer.main.get_command(build_app())
        assert isinstance(command, TyperGroup)
        status = command(_checked(command, sys.argv[1:]), standalone_mode=False)
    except LabError as error:
        status = _fail(str(error), error.exit_code)
    except BootstrapError as error:
        status = _fail(str(error), 1)
    except TyperException as error:
        text = " ".join(error.format_message().split())
        status = _fail(f"{text} (`./lab {' '.join(sys.argv[1:2])} --help` lists all)", 2)
    except (KeyboardInterrupt, typer.Abort):
        status = _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `lab logs | head`
        status = 0
    except OSError as error:
        status = _fail(_os_error(error), 1)
    sys.exit(status)


def _fail(text: str, status: int) -> int:
    console.stderr().print(f"lab: {text}", style="red", markup=False)
    return status


def _os_error(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}: free some space, then repeat"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission{where}: run as the user who started this lab, or change its owner"
    if error.errno == errno.EROFS:
        return f"the file system is read-only{where}: set LAB_HOME to a writable directory"
    return f"{error.strerror or error}{where}"


if __name__ == "__main__":
    main()
