"""Every stored link redirects right, whichever replica is asked."""

from __future__ import annotations

from random import Random
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from week04_shortener.checks.inside import empty_cache, forgotten
from week04_shortener.checks.stands import LINKS_IN_MEMORY, WEEK, door_of
from week04_shortener.checks.traffic import Followed, Link, follow, follow_all, try_links

LINKS: Final = 300
ROUNDS: Final = 2
"""How often each link is followed with its cache entry, and again without."""


@claim(
    "w04.links",
    rows=[25],
    mechanism="links in PostgreSQL",
    unit="wrong answers",
    needs={"url"},
    seeds=range(1, 6),
    repetitions=2,
)
class Links:
    """Every stored link redirects right, through nginx over both replicas."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        random = Random(lab.seed)
        door = door_of(lab, mechanism, LINKS_IN_MEMORY)
        lab.say("making links")
        targets = [
            f"https://example.org/links/{lab.seed}/{number}?q={random.getrandbits(64):x}"
            for number in range(LINKS)
        ]
        links, failed = await try_links(door, targets)
        if failed and lab.site is not None:
            raise RuntimeError(failed)
        lab.say("following them")
        rounds = [await self._follow(door, links, random)]
        if lab.site is not None:
            await empty_cache(lab.site)
            await forgotten(lab.site, WEEK.replicas)
            rounds.append(await self._follow(door, links, random))
            self._both_answered(rounds)
        return Figures(
            unit="wrong answers",
            headline="wrong",
            samples={
                "wrong": [followed.wrong.total() for followed in rounds],
                "made_links": [len({link.code for link in links})],
                "followed_requests": [followed.attempts for followed in rounds],
            },
            summary="total",
            attempts=LINKS + sum(followed.attempts for followed in rounds),
            seed=lab.seed,
            notes=[failed or f"GET of the links: {rounds[0]}", *map(str, rounds[1:])],
        )

    def judge(self, figures: Figures) -> None:
        [made], seen = figures["made_links"], figures.notes[0]
        assert made == LINKS, f"{made:.0f} different codes for {LINKS} links; {seen}"
        followed = sum(figures["followed_requests"])
        assert followed >= LINKS * ROUNDS, "not every link was followed"
        assert figures.value == 0, f"{figures.value:.0f} of {followed:.0f} are wrong; {seen}"

    @staticmethod
    async def _follow(door: str, links: list[Link], random: Random) -> Followed:
        order = links * ROUNDS
        random.shuffle(order)
        return await follow_all(door, map(follow, order))

    @staticmethod
    def _both_answered(rounds: list[Followed]) -> None:
        for followed in rounds:
            if len(followed.replicas) != 2:
                raise RuntimeError(f"not both replicas answered: {dict(followed.replicas)}")
