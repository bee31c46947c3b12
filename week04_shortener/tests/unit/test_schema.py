"""The API keeps to its own OpenAPI document, whatever is sent to it."""

import anyio
from fastapi import FastAPI, Response
from schemathesis import openapi

from week04_shortener.links import NewLink
from week04_shortener.tests.unit.api_fakes import World, WorldKeys, make_app
from week04_shortener.tests.unit.schema_runner import CONFIG, nonconformities

EXAMPLES = 3
FOLLOW = "/{code}"
"""Not a route of the API, but the app's in front of it."""


def test_open_mode_answers_as_documented() -> None:
    schema = openapi.from_asgi("/openapi.json", make_app(World()), config=CONFIG)
    sent, found = nonconformities(schema.exclude(path=FOLLOW), examples=EXAMPLES)
    assert found == []
    assert sent > EXAMPLES * 15


async def _world_with_a_link() -> tuple[World, str]:
    world = World()
    key, stored = await WorldKeys(world).create("tests")
    new = NewLink("https://example.org/", alias="spring-sale")
    await world.create(new, owner_id=stored.id, idempotency=None, request_id="")
    return world, key


def test_a_link_of_ones_own_answers_as_documented() -> None:
    world, key = anyio.run(_world_with_a_link)
    app = make_app(world, open_mode=False)
    schema = openapi.from_asgi("/openapi.json", app, config=CONFIG).exclude(path=FOLLOW)
    headers = {"Authorization": f"Bearer {key}"}
    sent, found = nonconformities(schema, examples=EXAMPLES, code="spring-sale", headers=headers)
    assert found == []
    assert sent > EXAMPLES * 5
    assert world.links["spring-sale"].version > 1, "its changes and its end were tried"


def test_an_undocumented_status_is_found() -> None:
    """The control: what the others say nothing of would be seen."""
    app = FastAPI()

    @app.get("/tea")
    async def tea() -> Response:
        return Response(status_code=418)

    schema = openapi.from_asgi("/openapi.json", app, config=CONFIG)
    sent, found = nonconformities(schema, examples=1)
    assert sent >= 1
    assert any("418" in failure for failure in found), found


def test_a_crash_is_found() -> None:
    app = FastAPI()

    @app.get("/tea", responses={500: {"description": "said to be normal"}})
    async def tea() -> Response:
        return Response(status_code=500, media_type="application/json", content=b"{}")

    schema = openapi.from_asgi("/openapi.json", app, config=CONFIG)
    _sent, found = nonconformities(schema, examples=1)
    assert any("Server error" in failure for failure in found), found
