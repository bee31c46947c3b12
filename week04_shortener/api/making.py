"""Many links: what each row or item wants, and making them so that no one spoils another."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from infra.service.problems import Problem
from infra.service.validation import MAX_ERRORS, located
from week04_shortener.api import wanted
from week04_shortener.api.models import PlainLink
from week04_shortener.api.parts import Parts
from week04_shortener.callers import Caller
from week04_shortener.links import AliasTaken, Link, NewLink, entry_of

BATCH: Final = 200
"""Links made in one transaction: few enough that it holds nobody up for long."""

TOLD_AT_ONCE: Final = 16
"""Links that the cache is told of at the same time; the outbox tells it anyway."""


def wish(fields: Mapping[str, object], parts: Parts) -> NewLink | Problem:
    """The link that `fields` ask for, or why there will be none."""
    try:
        return wanted.plain(PlainLink.model_validate(fields), parts)
    except ValidationError as error:
        errors = located({**one, "loc": ("body", *one["loc"])} for one in error.errors())
        return Problem(422, "The link does not fit its schema.", errors=list(errors)[:MAX_ERRORS])
    except Problem as problem:
        return problem


async def make_many(
    parts: Parts, news: Sequence[NewLink], caller: Caller, request_id: str
) -> list[Link | AliasTaken]:
    """What became of each of `news`, in their order. Batch by batch: when the database goes away
    in between, the earlier ones are made and `DatabaseUnavailable` is raised."""
    results: list[Link | AliasTaken] = []
    for start in range(0, len(news), BATCH):
        made = await parts.links.create_many(
            news[start : start + BATCH], owner_id=caller.owner_id, request_id=request_id
        )
        links = [link for link in made if isinstance(link, Link)]
        for at in range(0, len(links), TOLD_AT_ONCE):
            await asyncio.gather(
                *(
                    parts.lookup.remember(link.code, entry_of(link))
                    for link in links[at : at + TOLD_AT_ONCE]
                )
            )
        results += made
    return results
