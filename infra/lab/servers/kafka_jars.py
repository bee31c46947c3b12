"""Apache Kafka's jars: exactly the files that `locks/kafka-jars.txt` names, nothing resolved.

The lock has one line per jar: SHA-256, then Maven coordinates. `python -m
infra.lab.servers.kafka_jars` writes it anew from the two coordinates below; starting a lab only
downloads what the lock says and refuses a file whose sum differs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import jgo
import requests
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Artifact, MavenContext

from infra.lab.errors import LabError
from infra.lab.servers.base import Progress

KAFKA = ("org.apache.kafka", "kafka_2.13", "4.3.1")
LOG_BINDING = ("org.apache.logging.log4j", "log4j-slf4j-impl")
LOG_API = "log4j-api"
LOCK = Path("locks/kafka-jars.txt")
STAMP = "checked.sha256"
LOCK_POLL_S = 0.2

DOWNLOADS_AT_ONCE = 6
DOWNLOAD_TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    sha256: str
    group: str
    artifact: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def read_lock(lock: Path) -> list[Jar]:
    """Raises LabError for a lock that is missing or has a line of another form."""
    try:
        lines = lock.read_text().splitlines()
    except OSError as error:
        raise LabError(f"{lock} cannot be read ({error.strerror}): restore it with git") from error
    return [_jar(line) for line in lines if line and not line.startswith("#")]


def _jar(line: str) -> Jar:
    try:
        sha256, coordinates = line.split()
        group, artifact, version = coordinates.split(":")
    except ValueError as error:
        raise LabError(f"{LOCK} has a line that is none: {line!r}; restore it with git") from error
    return Jar(sha256, group, artifact, version)


def kafka_version(clone: Path) -> str:
    """Version of the broker that the lock names."""
    for jar in read_lock(clone / LOCK):
        if jar.artifact == KAFKA[1]:
            return jar.version
    raise LabError(f"{LOCK} names no {KAFKA[1]}: restore it with git")


def class_path(clone: Path, cache: Path) -> str:
    """The locked jars' paths joined for `java -cp`; they must have been fetched."""
    context = _context(cache)
    paths = [str(_artifact(context, jar).cached_path) for jar in read_lock(clone / LOCK)]
    return os.pathsep.join(paths)


def fetch(clone: Path, cache: Path, progress: Progress) -> None:
    """Download what is missing in `cache` and check every jar that was not checked before.

    Raises LabError when the repository cannot be reached or a jar's sum is wrong.
    """
    jars = read_lock(clone / LOCK)
    wanted = hashlib.sha256((clone / LOCK).read_bytes())
    context = _context(cache)
    if _all_checked(context, jars, cache, wanted.digest()):
        return
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache, progress):
        if _all_checked(context, jars, cache, wanted.digest()):
            return  # by the other week that we waited for
        for done, _ in enumerate(_checked(context, jars), start=1):
            progress(f"jar {done} of {len(jars)}")
        (cache / STAMP).write_text(wanted.hexdigest())


def _all_checked(context: MavenContext, jars: list[Jar], cache: Path, wanted: bytes) -> bool:
    """Whether all are there and were checked against this very lock."""
    stamp = cache / STAMP
    if not all(_cached(context, jar) for jar in jars) or not stamp.exists():
        return False
    return stamp.read_bytes() == wanted.hex().encode()


@contextlib.contextmanager
def _alone(cache: Path, progress: Progress) -> Iterator[None]:
    """Weeks share the jars: one downloads, another one that starts at the same time waits."""
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("another week fetches the jars: waiting for it")
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(lock)


def _checked(context: MavenContext, jars: list[Jar]) -> Iterator[Path]:
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        waiting = [pool.submit(_checked_jar, context, jar) for jar in jars]
        try:
            for ready in as_completed(waiting):
                yield ready.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _checked_jar(context: MavenContext, jar: Jar) -> Path:
    path = Path(str(_artifact(context, jar).cached_path))
    if path.exists() and _sha256(path) != jar.sha256:
        path.unlink()  # an interrupted download, or somebody's edit: fetch it again
    try:
        path = Path(_artifact(context, jar).resolve())
    except requests.exceptions.SSLError as error:
        raise LabError(
            f"cannot download {jar}, the server's certificate is not trusted: where a proxy has "
            f"one of its own, set REQUESTS_CA_BUNDLE to it"
        ) from error
    except (requests.RequestException, RuntimeError, AssertionError) as error:
        reason = type(error).__name__
        raise LabError(
            f"cannot download {jar} ({reason}): check the network, then repeat; behind a mirror "
            f"set LAB_MAVEN_URL to its address"
        ) from error
    except OSError as error:
        raise LabError(f"cannot store {jar}: {error.strerror} ({path.parent})") from error
    if _sha256(path) != jar.sha256:
        path.unlink()
        raise LabError(f"{jar} does not have the SHA-256 in {LOCK}: it was removed, not used")
    return path


def _context(cache: Path) -> MavenContext:
    return MavenContext(
        repo_cache=cache,
        remote_repos={"central": os.environ.get("LAB_MAVEN_URL") or MAVEN_CENTRAL_URL},
        timeout=DOWNLOAD_TIMEOUT_S,
    )


def _artifact(context: MavenContext, jar: Jar) -> Artifact:
    return context.project(jar.group, jar.artifact).at_version(jar.version).artifact()


def _cached(context: MavenContext, jar: Jar) -> bool:
    path = _artifact(context, jar).cached_path
    return path is not None and path.exists()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_lock(clone: Path, cache: Path) -> list[Jar]:
    """Resolve Kafka's closure and write the lock with the sums of what was downloaded.

    The logging binding is added by hand at log4j's own version: resolved together, its managed
    versions would replace Kafka's (they name an older kafka-clients).
    """
    context = _context(cache)
    found = [(a.groupId, a.artifactId, a.version) for a in jgo.resolve(":".join(KAFKA))]
    log4j = next(version for _, artifact, version in found if artifact == LOG_API)
    found.append((*LOG_BINDING, log4j))
    jars = []
    for group, artifact, version in sorted(found):
        unchecked = Jar("", group, artifact, version)
        path = Path(_artifact(context, unchecked).resolve())
        jars.append(Jar(_sha256(path), group, artifact, version))
    header = "# SHA-256 and Maven coordinates of Kafka's jars; written by `make lock`.\n"
    (clone / LOCK).write_text(header + "".join(f"{jar.sha256}  {jar}\n" for jar in jars))
    return jars


if __name__ == "__main__":
    from infra.bootstrap import clone_root, lab_home

    written = write_lock(clone_root(), lab_home() / "jars")
    sys.stdout.write(f"{LOCK}: {len(written)} jars\n")
