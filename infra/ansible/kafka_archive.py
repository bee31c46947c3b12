"""Apache Kafka's jars as one archive, for the hosts that Ansible sets up.

    python -m infra.ansible.kafka_archive      makes it where it is missing, prints its path

They are the jars of the local engine: the same lock, the same checksums, fetched into the same
folder of the lab home. The archive's name tells Kafka's version and the lock it was made from, and
everything in it lies in a folder of that name; `complete` is the last file in it, so that an
interrupted unpacking is known by its absence.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path

from infra.bootstrap import clone_root, lab_home
from infra.lab.errors import LabError
from infra.lab.servers import kafka_jars

DIGEST_CHARS = 12
MARK = "complete"


def release(clone: Path) -> str:
    """Name of what the lock pins, like kafka-4.3.1-0123456789ab. Raises LabError without a lock."""
    version = kafka_jars.kafka_version(clone)
    digest = hashlib.sha256((clone / kafka_jars.LOCK).read_bytes()).hexdigest()
    return f"kafka-{version}-{digest[:DIGEST_CHARS]}"


def ensure(clone: Path, home: Path) -> Path:
    """The archive in `home`; made first, with progress on stderr, where it is missing.

    Raises LabError, in one line, when a jar cannot be fetched or is not the one that is pinned.
    """
    jars = home / "jars"
    kafka_jars.fetch(clone, jars, _progress)
    name = release(clone)
    archive = jars / f"{name}.tar"
    if not archive.exists():
        made = archive.with_name(f"{archive.name}.{os.getpid()}")
        try:
            pack(name, kafka_jars.class_path(clone, jars).split(os.pathsep), made)
            made.replace(archive)
        finally:
            made.unlink(missing_ok=True)
    return archive


def pack(name: str, files: list[str], archive: Path) -> None:
    """Write `files` into the folder `name` of a new archive, all owned by root, the mark last."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(Path(file) for file in files):
            tar.add(path, f"{name}/{path.name}", filter=_plain)
        mark = tarfile.TarInfo(f"{name}/{MARK}")
        mark.mode = 0o644
        tar.addfile(mark, io.BytesIO())


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without whoever fetched it, and when."""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mode, info.mtime = 0o644, 0
    return info


def _progress(text: str) -> None:
    print(f"kafka: {text}", file=sys.stderr)


def main() -> int:
    """Entry point; returns the exit status."""
    try:
        print(ensure(clone_root(), lab_home()))
    except LabError as error:
        _progress(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
