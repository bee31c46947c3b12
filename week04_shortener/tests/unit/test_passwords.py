"""Passwords: what is stored, what matches, and what hashing may not do to everybody else."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator

import pytest

from week04_shortener.redirects import passwords

pytestmark = pytest.mark.anyio

CHEAP = passwords.Cost(log2_n=4, r=1, p=1)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", CHEAP)


async def test_the_default_cost_is_one_that_owasp_names() -> None:
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$scrypt$ln=14,r=8,p=5$")
    assert await passwords.verify("correct horse", stored)


@pytest.mark.usefixtures("cheap")
async def test_only_the_right_password_matches() -> None:
    stored = await passwords.hash("sesame")
    assert await passwords.verify("sesame", stored)
    for wrong in ("Sesame", "sesame ", "", "s", "x" * (passwords.MAX_CHARS + 1), "\ud800"):
        assert not await passwords.verify(wrong, stored)


@pytest.mark.usefixtures("cheap")
async def test_the_same_password_is_stored_differently_each_time() -> None:
    assert await passwords.hash("sesame") != await passwords.hash("sesame")


@pytest.mark.usefixtures("cheap")
async def test_an_accent_matches_however_the_keyboard_sends_it() -> None:
    assert await passwords.verify("caf\u0065\u0301", await passwords.hash("caf\u00e9"))


async def test_a_hash_with_another_cost_is_still_verified() -> None:
    """The string is computed by the library here, with a cost that the module does not use."""
    made = hashlib.scrypt(b"old", salt=b"salt" * 4, n=2**5, r=2, p=3, dklen=32)
    stored = f"$scrypt$ln=5,r=2,p=3${passwords._encode(b'salt' * 4)}${passwords._encode(made)}"
    assert await passwords.verify("old", stored)
    assert not await passwords.verify("new", stored)


@pytest.mark.parametrize("plain", ["", "x" * (passwords.MAX_CHARS + 1), "a\udfff"])
async def test_what_is_no_password_is_refused(plain: str) -> None:
    with pytest.raises(passwords.BadPassword):
        await passwords.hash(plain)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "secret",
        "$scrypt$ln=30,r=8,p=1$AAAA$" + "A" * 43,
        "$scrypt$ln=0,r=8,p=1$AAAA$" + "A" * 43,
        "$scrypt$ln=4,r=99,p=1$AAAA$" + "A" * 43,
        "$scrypt$ln=4,r=1,p=1$AAAA$AAAA",
        "$scrypt$ln=4,r=1,p=1$A$" + "A" * 43,
        "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA",
    ],
)
async def test_what_is_no_hash_is_an_error_and_not_a_wrong_password(stored: str) -> None:
    with pytest.raises(passwords.BadHash):
        await passwords.verify("sesame", stored)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator["Held"]:
    holding = Held()
    monkeypatch.setattr(passwords, "_scrypt", holding)
    yield holding
    holding.open.set()


class Held:
    """Hashing that waits until it is let go on; remembers how many ran at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, _data: bytes, _salt: bytes, _cost: passwords.Cost) -> bytes:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.release()
        self.open.wait(30)
        with self._lock:
            self.running -= 1
        return bytes(32)


async def test_guesses_take_two_threads_and_a_bounded_queue(held: Held) -> None:
    tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(passwords.MAX_WAITING)]
    await asyncio.sleep(0)
    # The loop is free while the threads are not, and one more is refused at once.
    with pytest.raises(passwords.TooBusy) as refused:
        await passwords.hash("x")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "2")
    for _ in range(passwords.MAX_WORKERS):
        assert await asyncio.to_thread(held.begun.acquire, timeout=30)
    held.open.set()
    await asyncio.gather(*tasks)
    assert held.most == passwords.MAX_WORKERS
    assert await passwords.hash("x")


async def test_a_client_that_went_away_does_not_free_a_busy_thread(held: Held) -> None:
    tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(passwords.MAX_WAITING)]
    for _ in range(passwords.MAX_WORKERS):
        assert await asyncio.to_thread(held.begun.acquire, timeout=30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # All that waited are gone; the two that are being made still hold their places.
    more = [asyncio.create_task(passwords.hash("x")) for _ in range(passwords.MAX_WAITING - 2)]
    await asyncio.sleep(0)
    with pytest.raises(passwords.TooBusy):
        await passwords.hash("x")
    held.open.set()
    await asyncio.gather(*more)
