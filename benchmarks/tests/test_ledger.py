"""The ledger tells what is lost, doubled and unsure, whatever happened."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ledger import Ledger, State

operations = st.lists(
    st.tuples(st.sampled_from([*State, None]), st.integers(0, 3)),
    max_size=60,
)
"""Per operation: what the client learns of it (None: it never ends), and how often it is done."""


def filled(known: Sequence[State | None]) -> Ledger:
    ledger = Ledger()
    for number, state in enumerate(known):
        ledger.begin(f"k{number}", float(number))
        if state is not None:
            ledger.end(f"k{number}", state, number + 0.5)
    return ledger


@given(operations)
def test_every_operation_is_judged_by_what_was_known_and_what_is_there(
    happened: list[tuple[State | None, int]],
) -> None:
    ledger = filled([state for state, _ in happened])
    verdict = ledger.compare({f"k{number}": copies for number, (_, copies) in enumerate(happened)})
    for number, (state, copies) in enumerate(happened):
        key = f"k{number}"
        unsure = state in (State.INDETERMINATE, None)
        assert (key in verdict.lost) == (state is State.ACKNOWLEDGED and copies == 0)
        assert (key in verdict.duplicated) == (copies > 1)
        assert (key in verdict.present) == (unsure and copies > 0)
        assert (key in verdict.absent) == (unsure and copies == 0)
        assert (key in verdict.present_refused) == (state is State.REFUSED and copies > 0)
    assert verdict.unknown == ()
    assert verdict.acknowledged + verdict.refused + verdict.indeterminate == len(happened)


@given(operations)
def test_an_honest_store_is_always_acquitted(happened: list[tuple[State | None, int]]) -> None:
    """Whatever an indeterminate operation came to: done or not, it is held against nobody."""
    ledger = filled([state for state, _ in happened])
    found = {}
    for number, (state, chance) in enumerate(happened):
        if state is State.ACKNOWLEDGED or (state is not State.REFUSED and chance % 2):
            found[f"k{number}"] = 1
    assert ledger.compare(found).kept


@given(operations.filter(lambda some: any(s is State.ACKNOWLEDGED for s, _ in some)), st.data())
def test_no_lost_acknowledgement_goes_unseen(
    happened: list[tuple[State | None, int]], data: st.DataObject
) -> None:
    ledger = filled([state for state, _ in happened])
    done = [n for n, (state, _) in enumerate(happened) if state is State.ACKNOWLEDGED]
    lost = data.draw(st.sampled_from(done))
    verdict = ledger.compare({f"k{number}": 1 for number in done if number != lost})
    assert verdict.lost == (f"k{lost}",)
    assert not verdict.kept
    assert ledger.rpo_s(verdict, fault_s=1000.0) == 1000.0 - (lost + 0.5)
    assert ledger.rpo_s(verdict, fault_s=0.0) == 0.0, "acknowledged after the fault"


def test_what_nobody_asked_for_is_seen() -> None:
    verdict = filled([State.ACKNOWLEDGED]).compare({"k0": 1, "stranger": 1})
    assert verdict.unknown == ("stranger",)
    assert not verdict.kept
    assert verdict.to_json()["kept"] is False


A, F, N = State.ACKNOWLEDGED, State.REFUSED, None


def at_tenths(known: Sequence[State | None]) -> Ledger:
    """One operation every 0.1 s that takes 0.01 s."""
    ledger = Ledger()
    for number, state in enumerate(known):
        ledger.begin(f"k{number}", number / 10)
        if state is not None:
            ledger.end(f"k{number}", state, number / 10 + 0.01)
    return ledger


def test_recovery_is_measured_from_the_fault_to_the_acknowledgement() -> None:
    ledger = at_tenths([A] * 10 + [F] * 5 + [A] * 20)
    recovery = ledger.recovery(fault_s=0.95)
    assert recovery.first_s == pytest.approx(1.51 - 0.95)
    assert recovery.sustained_s == recovery.first_s
    assert recovery.failed == 5


def test_a_success_that_does_not_last_is_first_but_not_sustained() -> None:
    ledger = at_tenths([A] * 10 + [F] * 3 + [A] * 2 + [N] * 3 + [A] * 20)
    recovery = ledger.recovery(fault_s=0.95)
    assert recovery.first_s == pytest.approx(1.31 - 0.95)
    assert recovery.sustained_s == pytest.approx(1.81 - 0.95)
    assert recovery.failed == 6


def test_successes_before_the_fault_has_landed_are_no_recovery() -> None:
    ledger = at_tenths([A] * 15 + [F] * 3 + [A] * 20)
    assert ledger.recovery(fault_s=0.95).first_s == pytest.approx(1.81 - 0.95)


def test_a_fault_that_hurts_nobody_costs_nothing() -> None:
    recovery = at_tenths([F] * 2 + [A] * 20).recovery(fault_s=0.95)
    assert not recovery.disrupted
    assert (recovery.first_s, recovery.sustained_s, recovery.failed) == (0.0, 0.0, 0)


def test_a_record_that_ends_too_soon_shows_no_sustained_success() -> None:
    recovery = at_tenths([A] * 10 + [F] * 5 + [A] * 9).recovery(fault_s=0.95)
    assert recovery.first_s is not None
    assert recovery.sustained_s is None
    dead = at_tenths([A] * 10 + [N] * 5).recovery(fault_s=0.95)
    assert (dead.first_s, dead.sustained_s) == (None, None)


def test_an_operation_in_flight_at_the_fault_is_part_of_the_disruption() -> None:
    ledger = Ledger()
    ledger.begin("early", 0.0)
    ledger.end("early", State.INDETERMINATE, 5.0)
    ledger.begin("late", 2.0)
    ledger.end("late", State.ACKNOWLEDGED, 2.5)
    recovery = ledger.recovery(fault_s=1.0)
    assert recovery.disrupted
    assert recovery.first_s == 1.5


@given(st.lists(st.sampled_from([A, F, N]), max_size=60), st.floats(0, 6))
def test_recovery_obeys_its_definition(known: list[State | None], fault_s: float) -> None:
    recovery = at_tenths(known).recovery(fault_s)
    if recovery.sustained_s is not None and recovery.disrupted:
        assert recovery.first_s is not None
        assert 0 <= recovery.first_s <= recovery.sustained_s
        back = round((fault_s + recovery.sustained_s - 0.01) * 10)
        assert known[back : back + 11] == [A] * 11, "a second without a failure"
    if recovery.first_s is None:
        assert recovery.disrupted
        assert recovery.sustained_s is None


def test_the_record_refuses_what_cannot_be() -> None:
    ledger = Ledger(entries_max=2)
    ledger.begin("a", 1.0)
    with pytest.raises(ValueError, match="before"):
        ledger.begin("a", 2.0)
    with pytest.raises(ValueError, match="before it began"):
        ledger.end("a", State.REFUSED, 0.5)
    ledger.end("a", State.REFUSED, 1.5)
    with pytest.raises(ValueError, match="has ended"):
        ledger.end("a", State.ACKNOWLEDGED, 2.0)
    with pytest.raises(KeyError):
        ledger.end("b", State.ACKNOWLEDGED, 2.0)
    with pytest.raises(ValueError, match="less than 0"):
        ledger.compare({"a": -1})
    ledger.begin("b", 2.0)
    with pytest.raises(OverflowError, match="2 operations"):
        ledger.begin("c", 3.0)
