"""What one `check` gathers between its first claim and its last, and where it writes that."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from infra.bootstrap import lab_home
from infra.evidence import host, labs
from infra.evidence.claims import Declaration
from infra.evidence.labs import Lab
from infra.evidence.measuring import Planned, Scope
from infra.evidence.results import PUBLISHED_ENGINE, ClaimResult, Evidence, now, save
from infra.evidence.screen import ProgressLine
from infra.evidence.verdict import Run, State, Verdict, decide


class CheckSession:
    """One pytest session's claims. All of a week's go into one result."""

    def __init__(
        self, root: Path, folder: Path | None, deep: bool, seed: int | None, target: Lab | None
    ) -> None:
        """`folder` is for the results, None for the lab home's; `root` is the clone."""
        self._root = root
        self._folder = folder
        self._expected = 0
        self._claims: dict[str, list[ClaimResult]] = {}
        self._source: host.Source | None = None
        self._started_at = ""
        self._started = self._claim_started = 0.0
        self._week = ""
        self.target = target
        self.scope = Scope(deep=deep, seed=seed, controlled=target is None)
        self.servers: dict[str, str] = {}
        self.engine = PUBLISHED_ENGINE
        self.progress = ProgressLine(None, nullcontext)
        self.partial = False
        self.written: list[tuple[Evidence, Path]] = []

    @property
    def began(self) -> bool:
        return bool(self._claims)

    @property
    def judged(self) -> bool:
        """Whether any claim was run at all."""
        return any(one.state is not State.NOT_RUN for all_ in self._claims.values() for one in all_)

    def expect(self, claims: int) -> None:
        """So many claims were collected."""
        self._expected = claims

    def begin(self, package: str) -> None:
        """A claim of `week04_shortener` starts now; the first starts the clock of the whole."""
        if self._source is None:
            self._source = host.source(self._root)
            self._started_at, self._started = now(), time.monotonic()
        self._claim_started = time.monotonic()
        self._week = _week(package)
        self._claims.setdefault(self._week, [])

    def conclude(
        self,
        declared: Declaration,
        planned: Sequence[Planned],
        runs: Sequence[Run],
        problems: Iterable[str],
    ) -> Verdict:
        """Decide on what happened, and record it."""
        expected = {str(one.step): one.role for one in planned}
        verdict = decide(declared.unit, runs, expected, problems)
        self.record(declared, verdict.state, verdict.reason, runs)
        return verdict

    def record(
        self, declared: Declaration, state: State, reason: str, runs: Sequence[Run] = ()
    ) -> None:
        """Keep a claim's end for the table and the file."""
        self._claims[self._week].append(
            ClaimResult(
                id=declared.id,
                says=declared.says,
                rows=declared.rows,
                mechanism=declared.mechanism,
                unit=declared.unit,
                state=state,
                reason=reason,
                seconds=time.monotonic() - self._claim_started,
                runs=tuple(runs),
            )
        )

    def finish(self, whole: bool) -> None:
        """Write one file per week; `whole` is false when the session was cut short."""
        if self._source is None:
            return
        after = host.source(self._root)
        count = sum(map(len, self._claims.values()))
        for week, claims in self._claims.items():
            if not claims:
                continue  # interrupted before the first verdict: nothing was learnt
            evidence = Evidence(
                week=week,
                commit=self._source.commit,
                # Edited while it ran: nobody can say what was measured.
                dirty=self._source.dirty or after != self._source,
                deep=self.scope.deep,
                complete=whole and not self.partial and count == self._expected,
                seed=self.scope.seed,
                target=labs.without_secrets(self.target.url) if self.target else None,
                started_at=self._started_at,
                wall_s=time.monotonic() - self._started,
                host=host.facts(),
                servers=self.servers,
                claims=tuple(claims),
                engine=self.engine,
            )
            folder = self._folder or lab_home() / week / "evidence"
            self.written.append((evidence, save(evidence, folder)))


def _week(package: str) -> str:
    found = re.match(r"week\d\d(?=_|$)", package)
    return found[0] if found else package
