"""What Valkey is asked for a redirect: cold, from Valkey, and from the replica's own memory."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from infra.evidence import Figures, Lab, claim
from infra.lab.site import Site
from week04_shortener.checks.inside import empty_cache, forgotten
from week04_shortener.checks.stands import PATIENT, WEEK, WITHOUT_CACHE, Stand
from week04_shortener.checks.traffic import Link, follow, follow_all, make_links
from week04_shortener.checks.valkey import Command, monitored

REDIRECTS: Final = 3
WRITES: Final = frozenset({"EVAL", "EVALSHA", "FCALL"})


class Tiers(StrEnum):
    """Where a redirect may find its link before PostgreSQL is asked."""

    ALL = "memory and Valkey"
    VALKEY = "Valkey alone"
    NONE = "no cache"


STANDS: Final[dict[Tiers, Stand]] = {
    Tiers.ALL: WEEK,
    Tiers.VALKEY: PATIENT,
    Tiers.NONE: WITHOUT_CACHE,
}


@claim(
    "w04.monitor",
    rows=[26, 31],
    mechanism="two tiers of cache",
    unit="commands to Valkey",
    seeds=range(1, 6),
    passes=[Tiers.ALL],
    controls=[Tiers.VALKEY, Tiers.NONE],
)
class Monitor:
    """Valkey sees a miss, a lease and a write; then one GET; then nothing: the link is in memory"""

    async def measure(self, lab: Lab, mechanism: Tiers) -> Figures:
        site, stand = lab.running().site, STANDS[mechanism]
        rehearsal, link = await make_links(
            site.url(stand.front),
            [f"https://example.org/monitor/{lab.seed}/{number}" for number in range(2)],
        )
        lab.say("waiting until the replicas have forgotten the new links")
        await forgotten(site, stand.replicas)
        await empty_cache(site)
        # So that connections are open, and scripts known to Valkey by their digests.
        await _three(site, stand, rehearsal)
        lab.say("following a link three times under MONITOR")
        cold, warm, near = await _three(site, stand, link)
        return Figures(
            unit="commands to Valkey",
            headline="commands",
            samples={
                "commands": [len(cold) + len(warm) + len(near)],
                "cold_reads": [_count(cold, "GET", "MGET")],
                "cold_leases": [sum(_is_lease(command) for command in cold)],
                "cold_scripts": [_count(cold, *WRITES)],
                "warm_commands": [len(warm)],
                "near_commands": [len(near)],
            },
            attempts=REDIRECTS,
            seed=lab.seed,
            notes=[
                f"{what}: {'; '.join(map(str, commands)) or 'nothing'}"
                for what, commands in (("cold", cold), ("warm", warm), ("again", near))
            ],
        )

    def judge(self, figures: Figures) -> None:
        assert min(figures["cold_reads"]) >= 1, "a cold redirect did not ask the cache"
        assert figures["cold_leases"] == (1,), "a cold redirect did not take one lease"
        assert min(figures["cold_scripts"]) >= 1, "a cold redirect was not written to the cache"
        assert min(figures["warm_commands"]) >= 1, "the other replica asked nobody"
        assert max(figures["warm_commands"]) <= 2, "a warm redirect takes more than a look"
        assert figures["near_commands"] == (0,), "a link in memory was asked for again"


async def _three(site: Site, stand: Stand, link: Link) -> list[Sequence[Command]]:
    """Follow a link at one replica, and twice at the other; what Valkey was asked each time."""
    found = []
    for name in (stand.replicas[0], stand.replicas[1], stand.replicas[1]):
        async with monitored(site) as seen:
            followed = await follow_all(site.url(name), [follow(link)], connections=1)
        if followed.right != 1:
            raise RuntimeError(f"{name} did not redirect: {followed}")
        found.append(seen.of(link.code))
    return found


def _count(commands: Sequence[Command], *names: str) -> int:
    return sum(command.name in names for command in commands)


def _is_lease(command: Command) -> bool:
    """``SET ...:lease token NX PX milliseconds``, the options in any order."""
    options = {word.upper() for word in command.words[3:]}
    is_set = command.name == "SET" and {"NX", "PX"} <= options
    return is_set and command.words[1].endswith(":lease")
