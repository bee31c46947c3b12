"""What the claims' client knows of each request, and which fault it belongs to."""

from random import Random

import pytest

from benchmarks.client import Answer, Ended, Outcome, Request
from benchmarks.ledger import State
from week04_shortener.checks.books import CALM_S, EVERY, Books
from week04_shortener.checks.traffic import Link

LINKS = [Link("aaaaaaa", "https://example.org/a"), Link("bbbbbbb", "https://example.org/b")]


def ended(
    request: Request,
    outcome: Outcome,
    status: int = 0,
    body: bytes = b"",
    sent: bool = True,
    at_s: float = 1.0,
) -> Ended:
    answer = Answer(status, (), body, len(body)) if status else None
    return Ended(0, request, outcome, sent, answer, 1, at_s, at_s + 0.1)


def books() -> Books:
    return Books(LINKS, Random(1))


def asked(books: Books, number: int) -> Request:
    request = books.request(number)
    assert request is not None
    return request


def test_some_requests_make_links_and_each_has_a_name_of_its_own() -> None:
    ours = books()
    requests = [asked(ours, number) for number in range(10 * EVERY)]
    assert sum(request.method == "POST" for request in requests) == 10
    assert len({request.key for request in requests}) == len(requests)


def test_two_runs_share_no_name() -> None:
    assert asked(books(), 1).key != asked(books(), 1).key


def test_a_click_says_that_it_comes_from_the_host_it_is_named_by() -> None:
    click = asked(books(), 1)
    assert click.headers == (("referer", f"https://{click.key}/"),)


@pytest.mark.parametrize(
    ("outcome", "status", "sent", "state", "wrong"),
    [
        (Outcome.OK, 302, True, State.ACKNOWLEDGED, 0),
        (Outcome.TIMEOUT, 0, True, State.INDETERMINATE, 0),
        (Outcome.TIMEOUT, 0, False, State.REFUSED, 0),
        (Outcome.RESET, 0, True, State.INDETERMINATE, 0),
        (Outcome.REFUSED, 0, False, State.REFUSED, 0),
        (Outcome.WRONG_STATUS, 503, True, State.INDETERMINATE, 0),
        (Outcome.WRONG_STATUS, 502, True, State.INDETERMINATE, 0),
        (Outcome.WRONG_STATUS, 404, True, State.INDETERMINATE, 1),
        (Outcome.WRONG_STATUS, 500, True, State.INDETERMINATE, 1),
        (Outcome.WRONG_BODY, 302, True, State.INDETERMINATE, 1),
    ],
)
def test_what_is_known_of_a_click(
    outcome: Outcome, status: int, sent: bool, state: State, wrong: int
) -> None:
    ours = books()
    ours.note(ended(asked(ours, 1), outcome, status, sent=sent))
    [entry] = ours.ledger(of_links=False).entries
    assert (entry.state, ours.wrong_answers) == (state, wrong)
    assert ours.ledger(of_links=True).entries == ()


def test_a_failure_belongs_to_the_fault_before_it() -> None:
    ours = books()
    for number in range(1, 100):
        lost = number == 30
        ours.note(
            ended(
                asked(ours, EVERY * number + 1),
                Outcome.RESET if lost else Outcome.OK,
                0 if lost else 302,
                at_s=number / 10,
            )
        )
    first, second, third = (clicks for _, clicks in ours.recoveries([1.0, 2.95, 6.0]))
    assert (first.disrupted, second.disrupted, third.disrupted) == (False, True, False)
    assert second.sustained_s == pytest.approx(3.1 + 0.1 - 2.95)


def test_a_fault_is_recovered_from_only_after_a_calm_while() -> None:
    ours = books()
    for number in range(1, 60):
        at_s = number / 10
        made = b'{"code": "ccccccc"}'
        ours.note(ended(asked(ours, EVERY * number), Outcome.OK, 201, made, at_s=at_s))
        ours.note(ended(asked(ours, EVERY * number + 1), Outcome.OK, 302, at_s=at_s))
    assert not ours.recovered(fault_s=5.0, now_s=5.0 + CALM_S / 2)
    assert ours.recovered(fault_s=3.0, now_s=6.0)
