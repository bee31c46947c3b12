"""The entry point of everything but the API: setup, the workers, and the commands for people.

python -m week04_shortener setup | forwarder | consumer | relay
python -m week04_shortener dead-letters ... | keys ... | monitor | dsn
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from infra.service import lifecycle
from infra.service.logs import configure_logging
from infra.service.metrics import new_registry
from infra.service.settings import load_settings
from week04_shortener import commands, monitor, workers
from week04_shortener.settings import Settings

QUIET_LOGGERS = ("alembic.runtime.plugins",)
"""Loggers whose information is of no use here: Alembic lists the plugins it comes with."""

EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT

Worker = Callable[[Settings, CollectorRegistry, asyncio.Event], Awaitable[None]]

WORKERS: dict[str, Worker] = {
    "setup": workers.setup,
    "forwarder": workers.forwarder,
    "consumer": workers.consumer,
    "relay": workers.relay,
}
FOR_PEOPLE: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "dead-letters": commands.add_dead_letters,
    "keys": commands.add_keys,
    "monitor": monitor.add,
    "dsn": commands.add_dsn,
}
BEHIND = ("forwarder", "consumer")
"""Who carries clicks behind the redirects, at a lower priority. Not the relay: on it depends how
soon a change is seen that Valkey was not told of."""
NICE = 10
"""How much lower (nice(2)). On a machine that has too little for all, redirects come first and
clicks wait in the replicas' logs."""

COMMANDS = (*WORKERS, *FOR_PEOPLE)


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; returns the exit status, 2 for wrong words."""
    try:
        words = _parser().parse_args(arguments)
    except SystemExit as ended:  # wrong words were told of, or help was given
        return int(ended.code or 0)
    name: str = words.name
    settings = load_settings(Settings)
    if name in WORKERS:
        log = configure_logging(f"shortener-{name}", settings.log_level, quiet=QUIET_LOGGERS)
        if name in BEHIND:
            os.nice(NICE)
        return lifecycle.run(lambda stop: WORKERS[name](settings, new_registry(log), stop))
    # Standard output belongs to the answer; what goes wrong is said beside it.
    configure_logging(f"shortener-{name}", "CRITICAL", fd=2)
    try:
        asyncio.run(commands.run(settings, words))
        sys.stdout.flush()
    except commands.Failed as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_FAILED
    except SystemExit as ended:
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `... list | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = commands.Parser(prog="python -m week04_shortener", description="Week 4's own commands")
    names = parser.add_subparsers(
        dest="name", metavar="|".join(COMMANDS), required=True, parser_class=commands.Parser
    )
    for name, worker in WORKERS.items():
        names.add_parser(name, help=(worker.__doc__ or "").partition(".")[0])
    for name, add in FOR_PEOPLE.items():
        add(names.add_parser(name, help=(add.__doc__ or "").partition(".")[0]))
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
