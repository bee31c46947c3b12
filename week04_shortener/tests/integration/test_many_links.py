"""Links made in bulk for a measurement are links as the API makes them."""

from __future__ import annotations

import asyncpg
import pytest

from infra.lab.engines.base import Engine
from week04_shortener.checks.many_links import bulk_load, target
from week04_shortener.codes import Codec
from week04_shortener.tests.integration.conftest import FrontDoor

pytestmark = [
    pytest.mark.integration,
    pytest.mark.anyio,
    pytest.mark.usefixtures("relay_asleep"),
]

LINKS = 300


async def test_they_redirect_and_collide_with_none(
    lab: Engine, door: FrontDoor, dsn: str, lab_codec: Codec
) -> None:
    said: list[str] = []
    before = lab_codec.decode(door.new_code("https://example.org/before"))
    loaded = await bulk_load(lab.site, LINKS, said.append)
    after = lab_codec.decode(door.new_code("https://example.org/after"))

    assert said == ["300 of 300 links"]
    assert loaded.codes == LINKS
    assert loaded.links > LINKS
    assert after - before > LINKS, "their numbers were taken from the sequence"
    for number in (before + 1, before + LINKS):
        answer = door.follow(lab_codec.encode(number))
        assert (answer.status_code, answer.headers["location"]) == (302, target(number))
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        told = await connection.fetchval(
            "SELECT count(*) FROM outbox WHERE code = $1", lab_codec.encode(before + 1)
        )
    finally:
        await connection.close()
    assert told == 0, "the cache is to be cold"


@pytest.mark.parametrize("links", [0, -1, 10_000_001])
async def test_the_number_is_bounded(lab: Engine, links: int) -> None:
    with pytest.raises(ValueError, match="is not 1 to 10000000"):
        await bulk_load(lab.site, links)
