"""The limiter: asks Valkey, goes on alone without it, and remembers whom it refused.

Three ways to an answer, by rising cost and falling frequency in an attack:

* memory: who was refused must wait a known time, and until then nothing can change the answer, so
  it is given without asking. A flood of refused requests costs Valkey nothing. (Should Valkey
  lose its memory meanwhile, this replica goes on refusing for that time.)
* shared: a script in Valkey decides, exactly, for all replicas.
* alone: Valkey is away. This replica counts for itself, with the same algorithm, beginning with
  nothing taken: N replicas let N times as much through until Valkey is back. The service goes on,
  and it is not unprotected; `shortener_limit_takes_total{by="alone"}` says that it happened.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from week04_shortener.limits.algorithms import SECOND_US, Decision, Policy, check_cost
from week04_shortener.limits.counters import (
    MAX_NAMES,
    Counters,
    CountersUnavailable,
    LocalCounters,
    now_us,
)

Take = tuple[str, Policy, int]
"""A name, what it takes of, and how many."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a take, for whoever must answer it.

    `remaining` is what could be taken now, `reset_s` the seconds until that grows, `retry_after_s`
    the seconds until a refused take may succeed, 0 when it was allowed.
    """

    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float
    policy: Policy


class LimiterMetrics:
    """What was asked, how it was answered, and by whom."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.takes = Counter(
            "shortener_limit_takes_total",
            "Takes by policy, verdict (allowed, refused) and by whom: shared (Valkey), memory "
            "(a refusal that still holds), alone (Valkey is away).",
            ("policy", "verdict", "by"),
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class _Refusal:
    cost: int
    until_us: int
    decision: Decision


class Limiter:
    """Lets each name take so much of a policy, whichever replica it comes to.

    `secret` keys the hash under which names are kept: they are addresses and codes, and Valkey,
    whose keys are easily looked at, has no need to know them.
    """

    def __init__(
        self,
        shared: Counters,
        metrics: LimiterMetrics,
        *,
        secret: bytes,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._shared = shared
        self._alone = LocalCounters(clock)
        self._metrics = metrics
        self._secret = secret
        self._clock = clock
        self._refused: OrderedDict[tuple[Policy, str], _Refusal] = OrderedDict()

    async def take(self, name: str, policy: Policy, cost: int = 1) -> Verdict:
        """Take `cost` of `policy` for `name`, all or nothing. Never fails for want of Valkey.

        Raises ValueError for a cost that the policy could never allow.
        """
        check_cost(policy, cost)
        key, asked_us = self._key(name), self._clock()
        decision, by = self._remembered(policy, key, cost, asked_us), "memory"
        if decision is None:
            decision, by = await self._decide(policy, key, cost)
            if by == "shared" and not decision.allowed:
                self._remember(policy, key, cost, decision, asked_us)
        return self._verdict(policy, decision, by)

    async def take_all(self, takes: Sequence[Take]) -> list[Verdict]:
        """Take all of them, up to the first that is refused, which is then the last verdict.

        What was taken before that one stays taken. A refusal in memory comes before all else:
        none of the others is then asked or charged.
        """
        for name, policy, cost in takes:
            known = self._remembered(policy, self._key(name), cost, self._clock())
            if known is not None:
                return [self._verdict(policy, known, "memory")]
        verdicts: list[Verdict] = []
        for name, policy, cost in takes:
            verdicts.append(await self.take(name, policy, cost))
            if not verdicts[-1].allowed:
                break
        return verdicts

    async def close(self) -> None:
        """Close the connections to Valkey."""
        await self._shared.close()

    def _key(self, name: str) -> str:
        text = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._secret, digest_size=16).hexdigest()

    def _verdict(self, policy: Policy, decision: Decision, by: str) -> Verdict:
        verdict = "allowed" if decision.allowed else "refused"
        self._metrics.takes.labels(policy.name, verdict, by).inc()
        return Verdict(
            decision.allowed,
            decision.remaining,
            decision.reset_us / SECOND_US,
            decision.retry_us / SECOND_US,
            policy,
        )

    async def _decide(self, policy: Policy, key: str, cost: int) -> tuple[Decision, str]:
        try:
            return await self._shared.take(key, policy, cost), "shared"
        except CountersUnavailable:
            return await self._alone.take(key, policy, cost), "alone"

    def _remembered(self, policy: Policy, key: str, cost: int, at_us: int) -> Decision | None:
        refusal = self._refused.get((policy, key))
        if refusal is None or cost < refusal.cost:
            return None
        left_us = refusal.until_us - at_us
        if left_us <= 0:
            del self._refused[policy, key]
            return None
        # Whoever wants more than what was refused then may have to wait longer than that.
        reset_us = min(refusal.decision.reset_us, left_us)
        return Decision(False, refusal.decision.remaining, reset_us, left_us)

    def _remember(
        self, policy: Policy, key: str, cost: int, decision: Decision, asked_us: int
    ) -> None:
        # Counted from before the question: it was decided later, so it never holds too long.
        self._refused[policy, key] = _Refusal(cost, asked_us + decision.retry_us, decision)
        self._refused.move_to_end((policy, key))
        if len(self._refused) > MAX_NAMES:
            self._refused.popitem(last=False)
