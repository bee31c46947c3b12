"""What Valkey is asked, as it is asked: the command `monitor`, for people.

Valkey's MONITOR slows it down (by half and more, says its manual), so it ends by itself.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.service.retry import brief
from week04_shortener.commands import Failed
from week04_shortener.settings import Settings

DEFAULT_S: Final = 10.0
MOST_S: Final = 600.0
SHOWN_CHARS: Final = 100
CONNECT_S: Final = 3.0


def add(parser: argparse.ArgumentParser) -> None:
    """Show each command that Valkey gets, for some seconds."""
    parser.add_argument("--seconds", type=_seconds, default=DEFAULT_S, metavar="S")
    parser.set_defaults(command=run)


async def run(settings: Settings, words: argparse.Namespace) -> None:
    """Print a line for each command until the time is over. Raises `Failed`."""
    url = settings.valkey_url.get_secret_value()
    # No limit on reading: that nothing is asked for a while is an answer too.
    client = Redis.from_url(url, socket_connect_timeout=CONNECT_S, socket_timeout=None)
    try:
        async with client.monitor() as monitor:
            sys.stderr.write(f"for {words.seconds:g} s, or until Ctrl-C:\n")
            try:
                async with asyncio.timeout(words.seconds):
                    async for told in monitor.listen():
                        if is_shown(str(told["command"])):
                            _show(told["time"], str(told["command"]), told["client_type"] == "lua")
            except TimeoutError:
                return
    except (RedisError, OSError) as error:
        raise Failed(f"Valkey does not answer ({brief(error)})") from error
    finally:
        await client.aclose()


def line(at_s: float, command: str, by_script: bool) -> str:
    """A command as it is shown: when, in UTC, and its words, cut short; a script's indented."""
    at = datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S.%f")
    text = ascii(command)[1:-1]
    if len(text) > SHOWN_CHARS:
        text = text[: SHOWN_CHARS - 3] + "..."
    return f"{at}  {'  ' if by_script else ''}{text}"


def is_shown(command: str) -> bool:
    """Whether people want to see it: not PINGs, by which replicas learn that they miss nothing."""
    return not command.upper().startswith("PING")


def _show(at_s: float, command: str, by_script: bool) -> None:
    sys.stdout.write(line(at_s, command, by_script) + "\n")
    sys.stdout.flush()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_S:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds up to {MOST_S:g}")
    return seconds
