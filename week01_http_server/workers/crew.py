"""Which workers there should be: decisions on start, crash, reload and end.

Pure: the events and the time come in as calls, what is to be done goes out through `Hands`.

A slot is a worker's place, with its listening socket. Each slot has at most one worker that
serves and one that starts; the old one leaves once the new one is ready.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field
from typing import Protocol

from week01_http_server.settings import Deadlines

FAILED_STARTS_MAX = 5
"""So many workers in a row that die before they are ready end the master."""

BACK_OFF_FIRST_S = 0.1
BACK_OFF_MAX_S = 5.0

STEADY_S = 10.0
"""A worker that served for so long is replaced at once when it dies, whatever came before."""

START_EXTRA_S = 60.0
"""For imports, on top of lifespan_s."""

HALT_S = 1.0
"""What a worker may take to end at once: an app that holds up its loop hears no signal."""

END_EXTRA_S = 5.0
"""What a worker may take beyond its own deadlines before it is killed."""


class State(enum.Enum):
    STARTING = enum.auto()
    SERVING = enum.auto()
    LEAVING = enum.auto()


@dataclass(eq=False, slots=True)
class Worker:
    """One process.

    Attributes:
        number: counts up over the master's life.
        slot: its place.
        since: when it came into its state, in seconds.
        kill_at: when patience with it ends; None for never.
    """

    number: int
    slot: int
    state: State
    since: float
    kill_at: float | None


class Hands(Protocol):
    """What the crew can have done."""

    def spawn(self, worker: Worker) -> None: ...
    def drain(self, worker: Worker) -> None:
        """Finish what was begun, and end."""

    def halt(self, worker: Worker) -> None:
        """End at once."""

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""

    def stop_listening(self) -> None:
        """Let no new connections in; those that are in the queues still are."""

    def all_ready(self) -> None:
        """For the first time every slot serves."""

    def renewed(self) -> None:
        """A reload is complete: new ones serve in every slot, the old ones are leaving."""

    def say(self, text: str) -> None:
        """One line for the operator."""


@dataclass(eq=False, slots=True)
class _Slot:
    serving: Worker | None = None
    starting: Worker | None = None
    spawn_at: float = 0.0
    crashes: int = 0


@dataclass(slots=True)
class _Story:
    """What goes on beside everyday life."""

    announced: bool = False
    reloading: bool = False
    reload_again: bool = False
    stopping: bool = False
    halting: bool = False
    status: int = 0
    failed_starts: int = 0
    renew: set[Worker] = field(default_factory=set)  # old because of a reload
    worn: set[Worker] = field(default_factory=set)  # have served as many requests as they should


class Crew:
    """The workers of one master.

    Args:
        slots: how many workers serve at a time.
        deadlines: drain_s and lifespan_s bound a worker's end and start.
        hands: does what is decided here.
    """

    def __init__(self, slots: int, deadlines: Deadlines, hands: Hands) -> None:
        self._slots = [_Slot() for _ in range(slots)]
        self._leaving: set[Worker] = set()
        self._deadlines = deadlines
        self._hands = hands
        self._numbers = itertools.count(1)
        self._story = _Story()

    @property
    def finished(self) -> int | None:
        """The exit status once all is over, else None."""
        story = self._story
        return story.status if story.stopping and not self.workers() else None

    def workers(self) -> list[Worker]:
        """All that live, the oldest first."""
        slots = self._slots
        found = [w for slot in slots for w in (slot.serving, slot.starting) if w is not None]
        return sorted([*found, *self._leaving], key=lambda worker: worker.number)

    def next_due(self) -> float | None:
        """When `tick` has something to do at the latest; None when nothing is planned."""
        moments = [w.kill_at for w in self.workers() if w.kill_at is not None]
        if not self._story.stopping:
            moments += [slot.spawn_at for slot in self._slots if self._lacks(slot)]
        return min(moments, default=None)

    # ---- What the operator asks for

    def tick(self, now: float) -> None:
        """Do what is due: start workers, and kill those that do not end."""
        for worker in self.workers():
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = now + END_EXTRA_S
                waited_s = now - worker.since
                doing = "start" if worker.state is State.STARTING else "end"
                self._hands.say(
                    f"worker {worker.number} did not {doing} in {waited_s:.1f} s: killed"
                )
                self._hands.kill(worker)
        if not self._story.stopping:
            for slot in self._slots:
                if self._lacks(slot) and now >= slot.spawn_at:
                    self._spawn(slot, now)

    def reload(self, now: float) -> None:
        """Replace every worker by a new one, slot by slot."""
        story = self._story
        if story.stopping:
            return
        if story.reloading or not story.announced:
            story.reload_again = True  # what starts now may have read the old files
            return
        story.reloading = True
        story.renew = set(self.workers()) - self._leaving
        self.tick(now)

    def stop(self, now: float) -> None:
        """The first time: finish what was begun. The second time: at once."""
        story = self._story
        if story.stopping:
            self._halt(now)
            return
        story.stopping = True
        self._hands.stop_listening()
        for slot in self._slots:
            for worker in (slot.starting, slot.serving):
                if worker is not None:
                    self._dismiss(worker, now)
            slot.starting = slot.serving = None

    def _halt(self, now: float) -> None:
        if self._story.halting:
            return
        self._story.halting = True
        for worker in self.workers():
            worker.since, worker.kill_at = now, now + HALT_S
            self._hands.halt(worker)

    # ---- What the workers do

    def ready(self, worker: Worker, now: float) -> None:
        """It serves from now on; whom it replaces may go."""
        if worker.state is not State.STARTING:
            return
        slot, story = self._slots[worker.slot], self._story
        worker.state, worker.since, worker.kill_at = State.SERVING, now, None
        old, slot.serving, slot.starting = slot.serving, worker, None
        story.failed_starts = 0
        if old is not None:
            self._dismiss(old, now)
        if not story.announced and all(slot.serving for slot in self._slots):
            story.announced = True
            self._hands.all_ready()
        self._go_on(now)

    def worn_out(self, worker: Worker, now: float) -> None:
        """It has answered as many requests as one worker should, and serves until replaced."""
        if worker.state is State.SERVING and not self._story.stopping:
            self._story.worn.add(worker)
            self.tick(now)

    def leaves(self, worker: Worker, now: float) -> None:
        """Somebody else told it to drain."""
        if worker.state is not State.SERVING or self._story.stopping:
            return
        slot = self._slots[worker.slot]
        slot.serving = None
        slot.spawn_at = now
        self._hands.say(f"worker {worker.number} was told to end: a new one takes its place")
        self._dismiss(worker, now, tell=False)
        self._go_on(now)

    def died(self, worker: Worker, reason: str, now: float) -> None:
        """Its process is over; `reason` is one line."""
        slot, story = self._slots[worker.slot], self._story
        story.worn.discard(worker)
        if worker.state is State.LEAVING:
            self._leaving.discard(worker)
        elif worker.state is State.STARTING:
            slot.starting = None
            self._failed_to_start(worker, slot, reason, now)
        else:
            slot.serving = None
            self._crashed(worker, slot, reason, now)
        self._go_on(now)

    def _failed_to_start(self, worker: Worker, slot: _Slot, reason: str, now: float) -> None:
        story = self._story
        if not story.announced:
            self._give_up(reason, now)
            return
        if story.reloading and slot.serving in story.renew:
            self._hands.say(f"reload given up, the old workers go on: {reason}")
            story.reloading = story.reload_again = False
            story.renew.clear()
            return
        story.failed_starts += 1
        if story.failed_starts >= FAILED_STARTS_MAX:
            self._give_up(f"{FAILED_STARTS_MAX} workers in a row did not start: {reason}", now)
            return
        delay_s = _back_off(story.failed_starts)
        slot.spawn_at = now + delay_s
        self._hands.say(
            f"worker {worker.number} did not start: {reason}; trying again in {delay_s:g} s"
        )

    def _give_up(self, reason: str, now: float) -> None:
        if self._story.status:
            return  # said already; the others fail for the same reason
        self._story.status = 1
        self._hands.say(f"cannot go on: {reason}")
        if not self._story.stopping:
            self.stop(now)

    def _crashed(self, worker: Worker, slot: _Slot, reason: str, now: float) -> None:
        steady = now - worker.since >= STEADY_S
        slot.crashes = 1 if steady else slot.crashes + 1
        delay_s = 0.0 if slot.crashes == 1 else _back_off(slot.crashes - 1)
        slot.spawn_at = now + delay_s
        when = f"in {delay_s:g} s" if delay_s else "now"
        self._hands.say(f"worker {worker.number} died: {reason}; a new one starts {when}")

    # ---- Common parts

    def _go_on(self, now: float) -> None:
        """After each event: is the reload over, is somebody to be started?"""
        story = self._story
        if story.stopping:
            return
        story.renew &= set(self.workers()) - self._leaving
        if story.reloading and not story.renew and all(slot.serving for slot in self._slots):
            story.reloading = False
            self._hands.renewed()
        if story.reload_again and story.announced and not story.reloading:
            story.reload_again = False
            self.reload(now)
        else:
            self.tick(now)

    def _lacks(self, slot: _Slot) -> bool:
        if slot.starting is not None:
            return False
        if slot.serving is None:
            return True
        if slot.serving not in self._story.renew and slot.serving not in self._story.worn:
            return False
        # Renewal goes slot by slot: at most one worker more than usual.
        return not any(other.serving and other.starting for other in self._slots)

    def _spawn(self, slot: _Slot, now: float) -> None:
        limit_s = self._deadlines.lifespan_s
        slot.starting = Worker(
            next(self._numbers),
            self._slots.index(slot),
            State.STARTING,
            now,
            now + limit_s + START_EXTRA_S if limit_s else None,
        )
        self._hands.spawn(slot.starting)

    def _dismiss(self, worker: Worker, now: float, *, tell: bool = True) -> None:
        limit_s = self._deadlines.drain_s + self._deadlines.lifespan_s + END_EXTRA_S
        worker.state, worker.since = State.LEAVING, now
        worker.kill_at = now + limit_s if self._deadlines.drain_s else None
        self._leaving.add(worker)
        self._story.worn.discard(worker)
        if tell:
            self._hands.drain(worker)


def _back_off(failures: int) -> float:
    return float(min(BACK_OFF_FIRST_S * 2 ** (failures - 1), BACK_OFF_MAX_S))
