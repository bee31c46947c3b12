"""What users do at a front door: make links and follow them, every answer counted."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.client import Ended, Outcome, Plan, Request, in_turn, named_target, run

CONNECTIONS = 8
SECONDS_MAX = 40.0
SAID_CHARS = 80
KINDS_SHOWN = 3

JSON = ("content-type", "application/json")
_STORED = frozenset({201})
_FOUND = frozenset({302})


@dataclass(frozen=True)
class Link:
    """A link that was made."""

    code: str
    url: str


@dataclass
class Followed:
    """What became of requests for links.

    Attributes:
        right: redirects to the link's own target.
        wrong: everything else, by what it was.
        replicas: answers by the replica that gave them, where it says so.
        event_ids: of the right ones.
    """

    right: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    replicas: Counter[str] = field(default_factory=Counter)
    event_ids: list[str] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        return self.right + self.wrong.total()

    def __str__(self) -> str:
        """One line for a report: `302 to its target: 99, by api1: 50, api2: 49; 503: 1`."""
        by = ", ".join(f"{name}: {number}" for name, number in sorted(self.replicas.items()))
        right = f"302 to its target: {self.right}{f', by {by}' if by else ''}"
        kinds = self.wrong.most_common()
        others = [f"{what} ({number} times)" for what, number in kinds[:KINDS_SHOWN]]
        if len(kinds) > KINDS_SHOWN:
            others.append(f"{len(kinds) - KINDS_SHOWN} other kinds")
        return "; ".join([right, *others])

    def note(self, ended: Ended) -> None:
        """Count one request."""
        answer = ended.answer
        if answer is not None and (replica := answer.header(b"x-replica")):
            self.replicas[replica.decode("latin-1")] += 1
        if ended.outcome is Outcome.OK and answer is not None:
            self.right += 1
            self.event_ids.append((answer.header(b"x-request-id") or b"").decode("latin-1"))
        else:
            self.wrong[said(ended)] += 1


def shorten(url: str) -> Request:
    """The request that makes a link."""
    return Request("POST", "/shorten", (JSON,), json.dumps({"url": url}).encode(), _STORED, key=url)


def follow(link: Link, headers: tuple[tuple[str, str], ...] = (), key: str = "") -> Request:
    """The request that follows a link, right only when it redirects to the link's own target."""
    target = link.url.encode("ascii")
    return Request(
        path=f"/{link.code}",
        headers=headers,
        status=_FOUND,
        check=lambda answer: answer.header(b"location") == target,
        key=key or link.code,
    )


async def ask(
    door: str, requests: Sequence[Request], connections: int = CONNECTIONS, timeout_s: float = 10.0
) -> list[Ended]:
    """Send `requests`, at most `connections` at a time; what became of each, in their order."""
    ended: list[Ended] = []
    target = named_target(door)
    plan = Plan(
        seconds=SECONDS_MAX,
        connections=connections,
        requests=max(1, len(requests)),
        timeout_s=timeout_s,
    )
    await run(target, in_turn(requests), plan, observer=ended.append)
    return sorted(ended, key=lambda one: one.number)


async def make_links(door: str, urls: Sequence[str]) -> list[Link]:
    """Links to `urls`, made through the front door. RuntimeError unless all of them were."""
    made, failed = await try_links(door, urls)
    if failed:
        raise RuntimeError(failed)
    return made


async def try_links(door: str, urls: Sequence[str]) -> tuple[list[Link], str]:
    """Links to `urls` as far as they were made, and "" or what was answered to the others."""
    made: list[Link] = []
    failed: Counter[str] = Counter()
    for ended in await ask(door, [shorten(url) for url in urls]):
        code = text_in(ended, "code") if ended.outcome is Outcome.OK else None
        if code is not None and ended.request.key:
            made.append(Link(code, ended.request.key))
        else:
            failed[said(ended)] += 1
    if len(made) == len(urls):
        return made, ""
    kinds = failed.most_common(KINDS_SHOWN)
    seen = ", ".join(f"{what} ({number} times)" for what, number in kinds)
    return made, f"POST /shorten: expected 201 with a code, seen {seen}"


def said(ended: Ended) -> str:
    """What became of a request, for a line that says what was seen: `501: exercise 1`."""
    answer = ended.answer
    if answer is None:
        return str(ended.outcome)
    why = _object(answer.body).get("detail")
    if ended.outcome is Outcome.WRONG_BODY and (where := answer.header(b"location")):
        why = f"to {where.decode('latin-1')}"
    return f"{answer.status}{f': {why}'[:SAID_CHARS] if why else ''}"


def text_in(ended: Ended, name: str) -> str | None:
    """The text that an answer's JSON object has under a name; None for none, or an empty one."""
    found = _object(ended.answer.body).get(name) if ended.answer is not None else None
    return found if isinstance(found, str) and found else None


def _object(body: bytes) -> dict[str, object]:
    """The JSON object in a body; an empty one where there is none."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}


async def follow_all(
    door: str, requests: Iterable[Request], connections: int = CONNECTIONS, timeout_s: float = 10.0
) -> Followed:
    """Send `requests`, at most `connections` at a time, and count the answers."""
    followed = Followed()
    for ended in await ask(door, list(requests), connections, timeout_s):
        followed.note(ended)
    return followed
