"""How many queries redirects cost PostgreSQL."""

from __future__ import annotations

from random import Random
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.site import Site
from week04_shortener.checks import outside
from week04_shortener.checks.inside import empty_cache, lookups
from week04_shortener.checks.stands import PATIENT, WITHOUT_CACHE
from week04_shortener.checks.traffic import follow, follow_all, make_links

LINKS: Final = 50
REDIRECTS: Final = 1000


@claim(
    "w04.cache-aside",
    rows=[26],
    mechanism="links cached in Valkey",
    unit="database queries",
    needs={"url", "dsn"},
    seeds=range(1, 6),
    repetitions=2,
)
class CacheAside:
    """A thousand redirects of fifty links cost the database at most one query for each link."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        if lab.site is None:
            unit = "database queries"
            return await outside.cache_aside(lab, links=LINKS, redirects=REDIRECTS, unit=unit)
        site: Site = lab.site
        random = Random(lab.seed)
        stand = PATIENT if mechanism is Mechanism.ON else WITHOUT_CACHE
        door = site.url(stand.front)
        targets = [f"https://example.org/cache/{lab.seed}/{number}" for number in range(LINKS)]
        links = await make_links(door, targets)
        order = [*links, *random.choices(links, k=REDIRECTS - LINKS)]
        random.shuffle(order)
        await empty_cache(site)
        before = await lookups(site)
        lab.say("following links from a cold cache")
        followed = await follow_all(door, map(follow, order))
        queries = await lookups(site) - before
        return Figures(
            unit="database queries",
            headline="queries",
            samples={
                "queries": [queries],
                "links": [LINKS],
                "right_redirects": [followed.right],
            },
            attempts=followed.attempts,
            seed=lab.seed,
            notes=[str(followed)],
        )

    def judge(self, figures: Figures) -> None:
        [right] = figures["right_redirects"]
        assert right == REDIRECTS, (
            f"{right:.0f} of {REDIRECTS} redirected right; {figures.notes[0]}"
        )
        assert figures.value >= 1, "links that no cache knew cost no query that this role may see"
        assert figures.value <= LINKS, (
            f"{figures.value:.0f} queries for {REDIRECTS} redirects of {LINKS} links"
        )
