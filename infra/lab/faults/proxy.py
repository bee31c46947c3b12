"""`python -m infra.lab.faults.proxy --host 127.0.0.1 --port 8474`: the TCP fault proxy.

Speaks Toxiproxy 2.12's HTTP API, so that Toxiproxy can take its place and the reverse.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.lab.faults.api import Api
from infra.lab.faults.http_shell import HttpShell
from infra.lab.faults.proxies import Registry
from infra.lab.owner import Owner

API_PORT = 8474
"""Toxiproxy's own."""
LEASE_POLL_S = 0.25
EXIT_CANNOT_START = 1

log = logging.getLogger("faults")


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        owner: a process not to be survived.
        seed: of jitter, slices and toxicity.
        config: JSON as for `POST /populate`; empty for none.
    """

    host: str
    port: int
    owner: Owner | None
    seed: int | None
    config: bytes


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or the owner's end.

    Raises OSError when it cannot listen, ValueError for a bad config.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    registry = Registry(random.Random(settings.seed))
    api = Api(registry)
    if settings.config:
        status, answer = await api.answer("POST", "/populate", "", settings.config)
        if status >= 300:
            raise ValueError(answer["error"])
    shell = HttpShell(settings.host, settings.port, api.answer, loop)
    log.info("listening on %s:%d", settings.host, shell.port)
    owner = settings.owner
    try:
        while not stopping.is_set() and (owner is None or owner.lives()):
            registry.drop_abandoned()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LEASE_POLL_S)
    finally:
        await asyncio.to_thread(shell.stop)
        registry.stop()
        await asyncio.sleep(0)  # the sockets are closed by the loop's next round


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.lab.faults.proxy", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=API_PORT)
    parser.add_argument("--owner", help="pid:creation time of a process not to be survived")
    parser.add_argument("--seed", type=int, help="of jitter, slices and toxicity")
    parser.add_argument("--config", type=Path, help="JSON file of links, as for POST /populate")
    return parser.parse_args()


def main() -> int:
    """Run it; 1 with one line when it cannot start."""
    given = _arguments()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        settings = Settings(
            host=given.host,
            port=given.port,
            owner=Owner(given.owner) if given.owner else None,
            seed=given.seed,
            config=given.config.read_bytes() if given.config else b"",
        )
    except ValueError:
        return _refuse("--owner is `pid:creation time`")
    except OSError as error:
        return _refuse(f"{given.config}: {error.strerror}")
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings))
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot listen on {given.host}:{given.port}: {error}")
    except ValueError as error:
        return _refuse(f"{given.config}: {error}")
    return 0


def _refuse(text: str) -> int:
    sys.stderr.write(f"faults: {text}\n")
    return EXIT_CANNOT_START


def _loop_factory() -> type[asyncio.AbstractEventLoop]:
    """uvloop where it is installed (what it is worth: docs/adr/0004)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop
    return uvloop.Loop


if __name__ == "__main__":
    sys.exit(main())
