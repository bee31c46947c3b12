"""The `fault` verb: faults on a week's links from the command line, each with its proof.

What is put on a link here stays until it is cleared, until its time is over, or until `down` ends
the proxy: no process holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infra.lab.engines.base import Engine
from infra.lab.errors import LabError, UsageError
from infra.lab.faults import kinds
from infra.lab.faults.probes import FaultError, round_trip_s
from infra.lab.faults.server import FaultProxy
from infra.lab.site import link_to
from infra.lab.topology import Topology

CLEAR = "clear"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """The words of the command line, each "" where it was not said.

    Attributes:
        to: the service that the link leads to.
        kind: a fault, or `clear`.
        stands: how long it shall stand.
    """

    to: str = ""
    kind: str = ""
    value: str = ""
    jitter: str = ""
    stream: str = ""
    stands: str = ""


def kinds_like(incomplete: str) -> list[str]:
    """Completion of a fault's name."""
    return [kind for kind in (*kinds.KINDS, CLEAR) if kind.startswith(incomplete)]


async def run(declared: Topology, lab: Engine, wish: Wish, say: Say) -> None:
    """Do what the words ask for. Raises LabError with one line for the user."""
    proxy = _proxy(declared, lab)
    if wish.to == CLEAR and not wish.kind:
        for link in proxy.links:
            await _clear(proxy, lab, link.to, say)
    elif not wish.to and wish == Wish():
        await _list(declared, proxy, lab, say)
    elif wish.kind == CLEAR:
        if wish != Wish(to=wish.to, kind=CLEAR):
            raise UsageError("clear takes nothing more: it ends whatever stands on the link")
        await _clear(proxy, lab, wish.to, say)
    else:
        await _put(declared, proxy, lab, wish, say)


def _proxy(declared: Topology, lab: Engine) -> FaultProxy:
    """The proxy that runs. Raises LabError that says how to have it."""
    week = declared.week
    if declared.faults is None:
        raise UsageError(f"{week} has no links that a fault could be put on")
    if not lab.is_up():
        raise LabError(f"{week} is not up: `make {week} up FAULTS=1`")
    if declared.faults.name not in declared.names:
        raise LabError(
            f"{week} is up with its links direct: `make {week} down`, then "
            f"`make {week} up FAULTS=1` leads them through the fault proxy"
        )
    return declared.faults


async def _list(declared: Topology, proxy: FaultProxy, lab: Engine, say: Say) -> None:
    found = await proxy.client(lab.site).standing()
    width = max(len(link.to) for link in proxy.links)
    for link in proxy.links:
        told = kinds.described(found.get(link_to(link.to), [])) or "no fault"
        say(f"{link.to:<{width}}  by {lab.site.way(link.to)}  {told}")
    first = proxy.links[0].to
    say(f"\n{_command(declared, first, 'latency 200')}  (or: {', '.join(kinds.KINDS[1:])}, clear)")


async def _put(declared: Topology, proxy: FaultProxy, lab: Engine, wish: Wish, say: Say) -> None:
    if wish.to in kinds.KINDS or not wish.to:
        names = ", ".join(link.to for link in proxy.links)
        raise UsageError(f"a fault on which link? SERVICE=NAME with make; links lead to {names}")
    link = proxy.link(lab.site, wish.to)
    if not wish.kind:
        raise UsageError(f"which fault on {wish.to}? {', '.join(kinds.KINDS)}, or clear")
    fault = kinds.parse(wish.kind, wish.value, wish.jitter, wish.stream)
    stands_s = kinds.seconds(wish.stands) if wish.stands else None
    try:
        proof = await proxy.client(lab.site).leave(link, fault, stands_s)
    except FaultError as error:
        raise FaultError(f"no fault stands on the link to {wish.to}: {error}") from error
    say(f"{proof.fault} on the link to {wish.to}: {proof.before} before, {proof.during} now")
    end = "until it is cleared" if stands_s is None else f"for {stands_s} s, or until it is cleared"
    say(f"It stands {end}: {_command(declared, wish.to, CLEAR)}")


async def _clear(proxy: FaultProxy, lab: Engine, to: str, say: Say) -> None:
    link = proxy.link(lab.site, to)
    await proxy.client(lab.site).clear_link(link)
    try:
        say(f"{to}: no fault, an answer after {await round_trip_s(link) * 1000:.1f} ms")
    except FaultError as error:  # of a server that is dead by itself
        say(f"{to}: no fault, and yet {error}")


def _command(declared: Topology, to: str, words: str) -> str:
    quoted = f'"{words}"' if " " in words else words
    return f"make {declared.week} fault SERVICE={to} ARGS={quoted}"
