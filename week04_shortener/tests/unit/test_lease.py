"""Of all replicas one works, and whatever happens to it or to Valkey, nobody is worse off."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from week04_shortener.cache.aside import CacheUnavailable
from week04_shortener.cache.lease import (
    MOST_PAUSE_S,
    LeaseMetrics,
    Limits,
    NoLease,
    SharedLease,
    Surroundings,
)

pytestmark = pytest.mark.anyio

LIMITS = Limits(ttl_s=1.0, wait_s=0.5)


@dataclass
class World:
    """A clock that moves only while somebody sleeps, and Valkey's tokens and one entry."""

    now_s: float = 100.0
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    entry: str | None = None
    away: bool = False
    asked: int = 0
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self.on_sleep()
        await asyncio.sleep(0)

    async def take(self, name: str, token: str, *, ttl_s: float) -> bool:
        self._answer()
        _, until_s = self.tokens.get(name, ("", 0.0))
        if until_s > self.now_s:
            return False
        self.tokens[name] = (token, self.now_s + ttl_s)
        return True

    async def release(self, name: str, token: str) -> None:
        self._answer()
        if self.tokens.get(name, ("", 0.0))[0] == token:
            del self.tokens[name]

    async def look(self) -> str | None:
        self._answer()
        return self.entry

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise CacheUnavailable("switched off")


class Replica:
    """One process's lease on the world, and its work: it puts the value into the cache."""

    def __init__(self, world: World, token: str, random: float = 0.0) -> None:
        self.world, self.works = world, 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.registry = CollectorRegistry()
        self.lease: SharedLease[str] = SharedLease(
            world,
            LIMITS,
            LeaseMetrics(self.registry),
            Surroundings(lambda: world.now_s, world.sleep, lambda: random, lambda: token),
        )

    async def ask(self) -> str:
        return await self.lease.do("key", self._work, self.world.look)

    async def work_alone(self) -> None:
        await self.lease.alone("key", self._work)

    def ended(self, result: str) -> float:
        name = "shortener_lease_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0

    async def _work(self) -> str:
        self.works += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.world.entry = "value"
        return "value"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_replica_works_and_the_other_gets_its_value() -> None:
    world = World()
    first, second = Replica(world, "a"), Replica(world, "b")
    first.gate.clear()
    world.on_sleep = first.gate.set
    assert list(await asyncio.gather(first.ask(), second.ask())) == ["value", "value"]
    assert (first.works, second.works) == (1, 0)
    assert (first.ended("held"), second.ended("waited")) == (1, 1)
    assert world.tokens == {}


async def test_a_hundred_who_miss_at_once_work_once() -> None:
    world = World()
    replicas = [Replica(world, str(number)) for number in range(100)]
    replicas[0].gate.clear()
    world.on_sleep = replicas[0].gate.set
    answers = await asyncio.gather(*[replica.ask() for replica in replicas])
    assert answers == ["value"] * 100
    assert sum(replica.works for replica in replicas) == 1


async def test_who_comes_after_the_holder_ended_finds_its_value_before_working() -> None:
    """The miss was before the value came, the lease is taken after it was given back."""
    world = World(entry="value")
    late = Replica(world, "late")
    assert await late.ask() == "value"
    assert late.works == 0
    assert world.tokens == {}


async def test_the_wait_for_a_slow_holder_is_bounded() -> None:
    world = World(tokens={"key:lease": ("slow", 1e9)})
    waiting = Replica(world, "b")
    assert await waiting.ask() == "value"
    assert (waiting.works, waiting.ended("gave_up")) == (1, 1)
    assert world.now_s == pytest.approx(100 + LIMITS.wait_s)
    assert world.tokens == {"key:lease": ("slow", 1e9)}, "another's lease is not given back"


async def test_a_dead_holders_lease_ends_by_itself() -> None:
    world = World(tokens={"key:lease": ("dead", 100.2)})
    next_one = Replica(world, "b")
    assert await next_one.ask() == "value"
    assert next_one.ended("held") == 1
    assert 100.2 <= world.now_s < 100.2 + MOST_PAUSE_S


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.5), (1.0, 1.0)])
async def test_pauses_grow_to_a_limit_and_differ_by_chance(random: float, share: float) -> None:
    world = World(tokens={"key:lease": ("slow", 1e9)})
    await Replica(world, "b", random).ask()
    grown = [0.005, 0.01, 0.02, 0.04, 0.05, 0.05]
    assert world.slept[: len(grown)] == pytest.approx([share * pause for pause in grown])
    assert max(world.slept) <= MOST_PAUSE_S


async def test_without_valkey_everybody_works_at_once() -> None:
    world = World(away=True)
    replica = Replica(world, "a")
    assert await replica.ask() == "value"
    assert (replica.works, replica.ended("unavailable")) == (1, 1)
    assert (world.asked, world.slept) == (1, [])


async def test_valkey_that_dies_while_one_waits_ends_the_wait() -> None:
    world = World(tokens={"key:lease": ("slow", 1e9)})
    replica = Replica(world, "b")

    def die() -> None:
        world.away = True

    world.on_sleep = die
    assert await replica.ask() == "value"
    assert (replica.works, len(world.slept)) == (1, 1)


async def test_valkey_that_dies_under_the_holder_does_not_harm_it() -> None:
    world = World()
    holder = Replica(world, "a")
    holder.gate.clear()
    asked = asyncio.create_task(holder.ask())
    await settle()
    world.away = True
    holder.gate.set()
    assert await asked == "value"


async def test_an_error_of_the_work_is_raised_and_leaves_the_lease_to_the_next() -> None:
    world = World()
    holder = Replica(world, "a")
    holder.error = ConnectionError("gone")
    with pytest.raises(ConnectionError):
        await holder.ask()
    assert world.tokens == {}
    holder.error = None
    assert await holder.ask() == "value"


async def test_a_cancelled_holder_gives_the_lease_back() -> None:
    world = World()
    holder = Replica(world, "a")
    holder.gate.clear()
    asked = asyncio.create_task(holder.ask())
    await settle()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert world.tokens == {}


async def test_a_holder_whose_lease_ended_leaves_the_next_holder_its_own() -> None:
    world = World()
    slow = Replica(world, "slow")
    slow.gate.clear()
    asked = asyncio.create_task(slow.ask())
    await settle()
    world.now_s += LIMITS.ttl_s + 0.1
    assert await world.take("key:lease", "next", ttl_s=1.0)
    slow.gate.set()
    await asked
    assert world.tokens["key:lease"][0] == "next"


async def test_without_a_lease_everybody_works() -> None:
    world = World()
    replica = Replica(world, "a")
    lease: NoLease[str] = NoLease()
    answers = [await lease.do("key", replica._work, world.look) for _ in range(3)]
    assert (answers, replica.works) == (["value"] * 3, 3)


async def test_alone_one_works_and_the_others_leave_it_at_once() -> None:
    world = World()
    first, second = Replica(world, "a"), Replica(world, "b")
    first.gate.clear()
    working = asyncio.create_task(first.work_alone())
    await settle()
    await second.work_alone()
    assert (first.works, second.works, world.slept) == (1, 0, [])
    first.gate.set()
    await working
    assert world.tokens == {}
    await second.work_alone()
    assert second.works == 1


async def test_alone_without_valkey_nobody_works() -> None:
    """It is the renewal of something that lies there."""
    world = World(away=True)
    replica = Replica(world, "a")
    await replica.work_alone()
    assert replica.works == 0


async def test_alone_an_error_is_raised_and_leaves_the_lease_to_the_next() -> None:
    world = World()
    replica = Replica(world, "a")
    replica.error = ConnectionError("gone")
    with pytest.raises(ConnectionError):
        await replica.work_alone()
    assert world.tokens == {}


async def test_alone_without_a_lease_everybody_works() -> None:
    replica = Replica(World(), "a")
    lease: NoLease[str] = NoLease()
    for _ in range(3):
        await lease.alone("key", replica._work)
    assert replica.works == 3
