"""Claims and their controls: what is measured, who judges it, and how it is published.

A claim is a class in `weekNN_name/checks/NAME.py`. `measure` does the work on real servers, once
with the mechanism and once without it; `judge` asserts on the figures. It must pass with the
mechanism and must fail, by an assert of its own, without: a judge that cannot fail shows nothing.

    from infra.evidence import Figures, Lab, Mechanism, claim

    @claim("w04.herd", rows=[30, 33], mechanism="single flight", unit="database queries",
           seeds=[1, 2, 3], repetitions=5)
    class Herd:
        '''A hundred misses at once ask the database once.'''

        async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
            api = "api1" if mechanism is Mechanism.ON else "api-without-flight"
            answers, queries = await herd(lab.running().site.url(api), Random(lab.seed))
            return Figures(unit="database queries", headline="queries",
                           samples={"queries": [queries], "latency_ms": answers.latencies_ms},
                           attempts=answers.sent, seed=lab.seed)

        def judge(self, figures: Figures) -> None:
            assert figures.value == 1, "more than one asked"

What an author must know:

- The docstring's first line is the claim in words, in tables and in the README.
- The figure of a run is `summary` of its headline series (median, unless another is named); a
  series other than the headline ends in its unit. Raw samples are kept, so give them all.
- Off is another part joined at wiring: another service, another setting. A folder's conftest.py
  may override the fixture `lab_topology` with a topology that has such services.
- A ladder is a StrEnum of the claim's own given as `passes=[...]` and `controls=[...]`; every
  member is one of the two.
- `lab` has `.url`, `.dsn`, `.engine`, `.site`, `.seed`, `.deep` and `.say("what happens")`. With
  needs={"url"} or {"url", "dsn"} the claim also runs against somebody's own service (TARGET=),
  where engine and site are None and there are no controls; the first of `passes` is measured.
- By default the first seed runs once; DEEP=1 runs all `repetitions` of all `seeds`. A check of all
  claims of a week has 180 s: keep a run to seconds, and let deep runs take the rest.
- A new object is made for each run and for each judgement: nothing is carried between them.
- What a run leaves dead or paused is started again before the next one.
- Broken check, worse than a failed claim: `measure` raises or exceeds `limit_s`; no attempts, an
  empty series, another unit or seed than declared; `judge` reaches no assert, or fails by anything
  but an assert that stands in `judge` itself; a control that passes; no rows; an id used twice.

`pytest -p infra.evidence.plugin weekNN_name/checks` runs claims (options: --deep, --seed, --target,
--target-dsn, --results), `run.run_checks` does for the command, `publish.publish` makes the last
deep run the published one.
"""

from infra.evidence.claims import Claim, Mechanism, claim
from infra.evidence.figures import Figures
from infra.evidence.labs import Lab

__all__ = ["Claim", "Figures", "Lab", "Mechanism", "claim"]
