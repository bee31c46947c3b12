"""Transcripts: what happens to the workers on the left, what the crew has done on the right."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from week01_http_server.settings import Deadlines
from week01_http_server.workers.crew import (
    BACK_OFF_FIRST_S,
    BACK_OFF_MAX_S,
    END_EXTRA_S,
    FAILED_STARTS_MAX,
    HALT_S,
    START_EXTRA_S,
    STEADY_S,
    Crew,
    State,
    Worker,
)

DEADLINES = Deadlines(drain_s=10.0, lifespan_s=5.0)


class Ledger:
    """The crew's hands: notes what they are told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self.workers: dict[int, Worker] = {}

    def spawn(self, worker: Worker) -> None:
        self.workers[worker.number] = worker
        self.done.append(f"spawn {worker.number} in {worker.slot}")

    def drain(self, worker: Worker) -> None:
        self.done.append(f"drain {worker.number}")

    def halt(self, worker: Worker) -> None:
        self.done.append(f"halt {worker.number}")

    def kill(self, worker: Worker) -> None:
        self.done.append(f"kill {worker.number}")

    def stop_listening(self) -> None:
        self.done.append("stop listening")

    def all_ready(self) -> None:
        self.done.append("all ready")

    def renewed(self) -> None:
        self.done.append("renewed")

    def say(self, text: str) -> None:
        self.said.append(text)

    def taken(self) -> list[str]:
        done, self.done = self.done, []
        return done


class Scene:
    """A crew, its ledger and a clock."""

    def __init__(self, slots: int = 2, *, up: bool = True) -> None:
        self.hands = Ledger()
        self.crew = Crew(slots, DEADLINES, self.hands)
        self.now = 100.0
        self.crew.tick(self.now)
        if up:
            for number in range(1, slots + 1):
                self.ready(number)
            self.hands.taken()

    def worker(self, number: int) -> Worker:
        return self.hands.workers[number]

    def ready(self, number: int) -> list[str]:
        self.crew.ready(self.worker(number), self.now)
        return self.hands.taken()

    def died(self, number: int, reason: str = "exit status 1") -> list[str]:
        self.crew.died(self.worker(number), reason, self.now)
        return self.hands.taken()

    def later(self, seconds: float) -> list[str]:
        self.now += seconds
        self.crew.tick(self.now)
        return self.hands.taken()

    def reload(self) -> list[str]:
        self.crew.reload(self.now)
        return self.hands.taken()

    def stop(self) -> list[str]:
        self.crew.stop(self.now)
        return self.hands.taken()


def test_every_slot_gets_a_worker_and_all_ready_is_told_once() -> None:
    scene = Scene(up=False)
    assert scene.hands.taken() == ["spawn 1 in 0", "spawn 2 in 1"]
    assert scene.ready(2) == []
    assert scene.ready(1) == ["all ready"]
    scene.died(1)
    assert scene.ready(3) == []


def test_a_worker_that_cannot_start_at_first_ends_everything_with_its_reason() -> None:
    scene = Scene(up=False)
    scene.ready(2)
    scene.hands.taken()
    assert scene.died(1, "no module 'shop'") == ["stop listening", "drain 2"]
    assert scene.hands.said == ["cannot go on: no module 'shop'"]
    assert scene.crew.finished is None
    scene.died(2, "exit status 0")
    assert scene.crew.finished == 1


def test_all_workers_failing_at_first_say_so_once() -> None:
    scene = Scene(up=False)
    scene.died(1, "broken")
    scene.died(2, "broken")
    assert scene.hands.said == ["cannot go on: broken"]
    assert scene.crew.finished == 1


def test_a_crashed_worker_is_replaced_at_once_and_later_ones_wait_longer_and_longer() -> None:
    scene = Scene(1)
    assert scene.died(1, "killed by SIGSEGV") == ["spawn 2 in 0"]
    assert scene.hands.said == ["worker 1 died: killed by SIGSEGV; a new one starts now"]
    number, waits = 2, []
    for _ in range(9):
        scene.ready(number)
        assert scene.died(number) == []
        due = scene.crew.next_due()
        assert due is not None
        waits.append(round(due - scene.now, 3))
        assert scene.later(due - scene.now - 0.001) == []
        number += 1
        assert scene.later(0.001) == [f"spawn {number} in 0"]
    assert waits[:3] == [BACK_OFF_FIRST_S, 2 * BACK_OFF_FIRST_S, 4 * BACK_OFF_FIRST_S]
    assert waits[-1] == BACK_OFF_MAX_S
    assert waits == sorted(waits)


def test_a_worker_that_served_for_long_is_replaced_at_once_again() -> None:
    scene = Scene(1)
    scene.died(1)
    scene.ready(2)
    scene.later(STEADY_S)
    assert scene.died(2) == ["spawn 3 in 0"]


def test_replacements_that_die_again_and_again_at_start_end_the_master() -> None:
    scene = Scene()
    scene.died(1)
    for number in range(3, 3 + FAILED_STARTS_MAX - 1):
        assert scene.died(number, "no database") == []
        assert scene.later(BACK_OFF_MAX_S) == [f"spawn {number + 1} in 0"]
    assert scene.died(3 + FAILED_STARTS_MAX - 1, "no database") == ["stop listening", "drain 2"]
    assert scene.hands.said[-1] == (
        f"cannot go on: {FAILED_STARTS_MAX} workers in a row did not start: no database"
    )
    scene.died(2, "exit status 0")
    assert scene.crew.finished == 1


def test_one_start_that_works_forgets_the_failures_before() -> None:
    scene = Scene(1)
    scene.died(1)
    number = 2
    for _ in range(3):
        for _ in range(FAILED_STARTS_MAX - 1):
            scene.died(number)
            scene.later(BACK_OFF_MAX_S)
            number += 1
        scene.ready(number)
        scene.died(number)
        scene.later(BACK_OFF_MAX_S)
        number += 1
    assert not any("cannot go on" in line for line in scene.hands.said)


def test_a_reload_goes_slot_by_slot_and_the_old_one_leaves_when_the_new_one_is_ready() -> None:
    scene = Scene()
    assert scene.reload() == ["spawn 3 in 0"]
    assert scene.ready(3) == ["drain 1", "spawn 4 in 1"]
    assert scene.died(1, "exit status 0") == []
    assert scene.ready(4) == ["drain 2", "renewed"]
    assert scene.died(2, "exit status 0") == []
    assert scene.hands.said == []
    assert scene.crew.next_due() is None


def test_a_reload_whose_new_worker_fails_keeps_the_old_ones() -> None:
    scene = Scene()
    scene.reload()
    assert scene.died(3, "SyntaxError") == []
    assert scene.hands.said == ["reload given up, the old workers go on: SyntaxError"]
    assert scene.later(1000) == []
    assert [worker.number for worker in scene.crew.workers()] == [1, 2]
    assert scene.reload() == ["spawn 4 in 0"]


def test_a_reload_during_a_reload_follows_it() -> None:
    scene = Scene(1)
    scene.reload()
    assert scene.reload() == []
    assert scene.ready(2) == ["drain 1", "renewed", "spawn 3 in 0"]
    assert scene.ready(3) == ["drain 2", "renewed"]


def test_a_reload_before_all_are_ready_waits_for_them() -> None:
    scene = Scene(1, up=False)
    scene.hands.taken()
    assert scene.reload() == []
    assert scene.ready(1) == ["all ready", "spawn 2 in 0"]


def test_an_old_worker_that_dies_during_a_reload_is_replaced_by_the_new_one() -> None:
    scene = Scene(1)
    scene.reload()
    assert scene.died(1) == []
    assert scene.ready(2) == ["renewed"]
    assert [worker.number for worker in scene.crew.workers()] == [2]
    assert scene.reload() == ["spawn 3 in 0"]


def test_a_worker_that_somebody_told_to_end_is_replaced_at_once() -> None:
    scene = Scene()
    scene.crew.leaves(scene.worker(1), scene.now)
    assert scene.hands.taken() == ["spawn 3 in 0"]
    assert scene.ready(3) == []
    assert scene.died(1, "exit status 0") == []


def test_a_worn_out_worker_serves_until_its_replacement_does() -> None:
    scene = Scene()
    scene.crew.worn_out(scene.worker(1), scene.now)
    scene.crew.worn_out(scene.worker(2), scene.now)
    assert scene.hands.taken() == ["spawn 3 in 0"]
    assert scene.ready(3) == ["drain 1", "spawn 4 in 1"]
    assert scene.ready(4) == ["drain 2"]


def test_the_first_stop_drains_and_the_second_ends_at_once() -> None:
    scene = Scene()
    assert scene.stop() == ["stop listening", "drain 1", "drain 2"]
    assert scene.stop() == ["halt 1", "halt 2"]
    assert scene.stop() == []
    scene.died(1)
    scene.died(2)
    assert scene.crew.finished == 0


def test_a_stop_during_a_reload_ends_old_and_new_ones() -> None:
    scene = Scene(1)
    scene.reload()
    assert sorted(scene.stop()) == ["drain 1", "drain 2", "stop listening"]
    assert scene.ready(2) == []
    scene.died(1)
    scene.died(2)
    assert scene.crew.finished == 0
    assert scene.reload() == []


def test_who_does_not_end_in_time_is_killed() -> None:
    scene = Scene(1)
    scene.stop()
    assert scene.later(DEADLINES.drain_s + DEADLINES.lifespan_s + END_EXTRA_S - 0.1) == []
    assert scene.later(0.1) == ["kill 1"]
    scene.died(1, "killed by SIGKILL")
    assert scene.crew.finished == 0


def test_who_does_not_end_at_once_is_killed_soon() -> None:
    scene = Scene(1)
    scene.stop()
    scene.stop()
    assert scene.later(HALT_S) == ["kill 1"]


def test_who_does_not_start_in_time_is_killed_and_counts_as_failed() -> None:
    scene = Scene(1, up=False)
    scene.hands.taken()
    assert scene.later(DEADLINES.lifespan_s + START_EXTRA_S) == ["kill 1"]
    scene.died(1, "killed by SIGKILL")
    assert scene.crew.finished == 1


class Life(RuleBasedStateMachine):
    """Any order of events: the crew keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(3, up=False)
        self.dead: set[int] = set()
        self.stopped = False

    def _some(self, draw: int, *states: State) -> Worker | None:
        found = [w for w in self.scene.crew.workers() if w.state in states]
        return found[draw % len(found)] if found else None

    @rule(draw=st.integers(0, 5))
    def becomes_ready(self, draw: int) -> None:
        worker = self._some(draw, State.STARTING)
        if worker is not None:
            self.scene.ready(worker.number)

    @rule(draw=st.integers(0, 5))
    def dies(self, draw: int) -> None:
        worker = self._some(draw, State.STARTING, State.SERVING, State.LEAVING)
        if worker is not None:
            self.dead.add(worker.number)
            self.scene.died(worker.number)

    @rule(draw=st.integers(0, 5))
    def is_told_to_leave(self, draw: int) -> None:
        worker = self._some(draw, State.SERVING)
        if worker is not None:
            self.scene.crew.leaves(worker, self.scene.now)

    @rule(draw=st.integers(0, 5))
    def wears_out(self, draw: int) -> None:
        worker = self._some(draw, State.SERVING)
        if worker is not None:
            self.scene.crew.worn_out(worker, self.scene.now)

    @rule()
    def reloads(self) -> None:
        self.scene.reload()

    @rule(seconds=st.sampled_from([0.05, 1.0, 20.0]))
    def waits(self, seconds: float) -> None:
        self.scene.later(seconds)

    @precondition(lambda self: not self.stopped)
    @rule()
    def stops(self) -> None:
        self.stopped = True
        self.scene.stop()

    @invariant()
    def no_slot_is_forgotten_or_crowded(self) -> None:
        crew = self.scene.crew
        living = crew.workers()
        assert not self.dead & {worker.number for worker in living}
        if crew.finished is not None:
            return
        for slot in range(3):
            here = [w for w in living if w.slot == slot]
            assert sum(w.state is State.SERVING for w in here) <= 1
            assert sum(w.state is State.STARTING for w in here) <= 1
            active = any(w.state is not State.LEAVING for w in here)
            ending = all(w.state is State.LEAVING for w in living)
            assert active or ending or crew.next_due() is not None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("slots", [1, 4])
def test_memory_does_not_grow_over_many_reloads(slots: int) -> None:
    scene = Scene(slots)
    for _ in range(50):
        scene.reload()
        for _ in range(slots):
            [new] = [w for w in scene.crew.workers() if w.state is State.STARTING]
            scene.ready(new.number)
        for old in [w for w in scene.crew.workers() if w.state is State.LEAVING]:
            scene.died(old.number)
        assert len(scene.crew.workers()) == slots
