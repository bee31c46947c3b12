"""Where requests come from, and whose keys they bring."""

import hashlib
import ipaddress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from infra.service.problems import Problem
from week04_shortener.callers import (
    KEY_CACHE_S,
    MAX_CACHED_KEYS,
    MAX_HOPS,
    NO_ADDRESS,
    Caller,
    Callers,
    _behind,
    client_address,
    hash_of_key,
)

TRUSTED = [ipaddress.ip_network(text) for text in ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")]
PROXY = ("127.0.0.1", 4711)
KEY = "lab_0123456789abcdefABCDEF-_"


def scope(client: tuple[str, int] | None, *headers: tuple[str, str]) -> dict[str, object]:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "client": client, "headers": raw}


def forwarded(*values: str, client: tuple[str, int] | None = PROXY) -> str:
    return client_address(scope(client, *(("x-forwarded-for", value) for value in values)), TRUSTED)


@pytest.mark.parametrize(
    ("entries", "address"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9, 192.0.2.1"], "192.0.2.1"),  # the client's own word is further left
        (["192.0.2.1, 10.1.2.3"], "192.0.2.1"),  # another proxy of ours in between
        (["198.51.100.9", "192.0.2.1,10.1.2.3"], "192.0.2.1"),  # several headers are one list
        (["  192.0.2.1\t"], "192.0.2.1"),
        (["192.0.2.1:50000"], "192.0.2.1"),
        (["2001:DB8::1"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, ::ffff:10.0.0.1"], "192.0.2.1"),
        (["10.0.0.7, 10.0.0.8"], "10.0.0.7"),  # all are ours: whoever was first
        (["192.0.2.1, fd00::5"], "192.0.2.1"),
    ],
)
def test_behind_a_trusted_proxy_the_client_is_the_last_who_is_not_ours(
    entries: list[str], address: str
) -> None:
    assert forwarded(*entries) == address


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [""],
        ["unknown"],
        ["192.0.2.1, nonsense"],
        ["192.0.2.1, "],
        ["192.0.2.300"],
        ["0300.0.2.1"],
        ["[2001:db8::1"],
        ["192.0.2.1, nonsense, 10.1.2.3"],
        ["192.0.2.1;10.0.0.1"],
        ["\xff\xfe"],
    ],
)
def test_garbage_leaves_the_peer(entries: list[str]) -> None:
    assert forwarded(*entries) == "127.0.0.1"


def test_a_stranger_is_not_believed() -> None:
    assert forwarded("192.0.2.1", client=("203.0.113.5", 1)) == "203.0.113.5"
    assert forwarded("192.0.2.1", client=("::ffff:203.0.113.5", 1)) == "203.0.113.5"
    assert forwarded("192.0.2.1", client=("::ffff:127.0.0.1", 1)) == "192.0.2.1"


def test_peers_without_an_ip_address_are_taken_as_they_are() -> None:
    assert forwarded("192.0.2.1", client=None) == NO_ADDRESS
    assert forwarded("192.0.2.1", client=("testclient", 1)) == "testclient"
    assert forwarded(client=("testclient", 1)) == "testclient"


def test_what_a_stranger_claims_is_not_remembered() -> None:
    """Thousands of headers as long as a server takes them would be hundreds of megabytes."""
    _behind.cache_clear()
    for number in range(100):
        forwarded(f"192.0.2.{number}" + " " * 8000)
        forwarded(f"192.0.2.{number}", client=("203.0.113.9", 5))
    assert _behind.cache_info().currsize == 0
    assert forwarded("192.0.2.1") == "192.0.2.1"
    assert _behind.cache_info().currsize == 1


def test_only_so_many_hops_are_looked_at() -> None:
    ours = ["10.0.0.1"] * (MAX_HOPS - 1)
    assert forwarded(", ".join(["192.0.2.1", *ours])) == "192.0.2.1"
    assert forwarded(", ".join(["192.0.2.1", "10.0.0.2", *ours])) == "10.0.0.2"


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=40), max_size=4))
def test_whatever_is_forwarded_an_address_comes_out(values: list[str]) -> None:
    ipaddress.ip_address(forwarded(*values))


@dataclass
class Stored:
    id: int


@dataclass
class Keys:
    """Keys in memory, and how often they were asked for."""

    stored: dict[bytes, Stored] = field(default_factory=dict)
    asked: int = 0

    async def find(self, key_hash: bytes) -> Stored | None:
        self.asked += 1
        return self.stored.get(key_hash)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def request(*authorization: str) -> HTTPConnection:
    return HTTPConnection(
        scope(("192.0.2.1", 1), *(("authorization", value) for value in authorization))
    )


def callers(keys: Keys, clock: Clock, *, open_mode: bool = False) -> Callers:
    return Callers(keys, trusted=TRUSTED, open_mode=open_mode, now_s=clock)


async def refused(callers: Callers, *authorization: str) -> Problem:
    with pytest.raises(Problem) as caught:
        await callers.caller_of(request(*authorization))
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
    return caught.value


@pytest.mark.anyio
async def test_a_known_key_is_its_owner_and_is_asked_for_once_in_a_while() -> None:
    keys, clock = Keys({digest(KEY): Stored(7)}), Clock()
    known = callers(keys, clock)
    for spelling in (f"Bearer {KEY}", f"bearer  {KEY}", f"BEARER {KEY} "):
        assert await known.caller_of(request(spelling)) == Caller(7, "192.0.2.1")
    assert keys.asked == 1
    clock.now_s += KEY_CACHE_S
    await known.caller_of(request(f"Bearer {KEY}"))
    assert keys.asked == 2


@pytest.mark.anyio
async def test_a_revoked_key_works_no_longer_than_stated() -> None:
    keys, clock = Keys({digest(KEY): Stored(7)}), Clock()
    known = callers(keys, clock)
    await known.caller_of(request(f"Bearer {KEY}"))
    keys.stored.clear()
    clock.now_s += KEY_CACHE_S * 0.99
    await known.caller_of(request(f"Bearer {KEY}"))
    clock.now_s += KEY_CACHE_S * 0.01
    assert "revoked" in (await refused(known, f"Bearer {KEY}")).detail


@pytest.mark.anyio
async def test_a_wrong_key_is_refused_and_not_asked_for_each_time() -> None:
    for open_mode in (False, True):
        keys = Keys()
        known = callers(keys, Clock(), open_mode=open_mode)
        for _ in range(3):
            problem = await refused(known, f"Bearer {KEY}")
        assert 'error="invalid_token"' in problem.headers["WWW-Authenticate"]
        assert keys.asked == 1


@pytest.mark.anyio
async def test_made_up_keys_do_not_push_out_the_known_ones() -> None:
    keys = Keys({digest(KEY): Stored(7)})
    known = callers(keys, Clock())
    await known.caller_of(request(f"Bearer {KEY}"))
    for number in range(MAX_CACHED_KEYS + 1):
        await refused(known, f"Bearer made-up-{number}")
    asked = keys.asked
    await known.caller_of(request(f"Bearer {KEY}"))
    assert keys.asked == asked
    await refused(known, "Bearer made-up-0")  # the oldest was forgotten: memory is bounded
    assert keys.asked == asked + 1


@pytest.mark.anyio
async def test_without_a_key_only_open_mode_lets_in() -> None:
    problem = await refused(callers(Keys(), Clock()))
    assert "error=" not in problem.headers["WWW-Authenticate"]
    assert "Authorization: Bearer KEY" in problem.detail
    open_for_all = callers(Keys(), Clock(), open_mode=True)
    assert await open_for_all.caller_of(request()) == Caller(None, "192.0.2.1")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "authorization",
    [
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("Basic dXNlcjpwYXNz",),
        (f"Bearer {KEY} {KEY}",),
        (f"Bearer {KEY}", f"Bearer {KEY}"),
        ("Bearer " + "a" * 201,),
        ("Bearer \xe4",),
    ],
)
async def test_malformed_authorization_is_refused_unasked(authorization: tuple[str, ...]) -> None:
    keys = Keys()
    for open_mode in (False, True):
        await refused(callers(keys, Clock(), open_mode=open_mode), *authorization)
    assert keys.asked == 0


def test_the_hash_of_a_key_is_the_one_it_is_stored_under() -> None:
    assert hash_of_key(request(f"Bearer {KEY}").scope) == digest(KEY)
    assert hash_of_key(request().scope) is None
