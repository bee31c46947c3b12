"""Entry point of the PostgreSQL stand-in: a cluster at the first start, then the server.

As upstream's docker-entrypoint.sh: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and
POSTGRES_INITDB_ARGS make the cluster in PGDATA; then a server on the socket alone runs what lies in
/docker-entrypoint-initdb.d (*.sql and *.sh) and ends; then the command runs.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SCRIPTS = Path("/docker-entrypoint-initdb.d")
SOCKETS = "/var/run/postgresql"
NSS_WRAPPER = "libnss_wrapper.so"
START_TIMEOUT_S = "60"
UID = 999

_CONF = f"""
# What upstream's sample file, or its build, has otherwise.
listen_addresses = '*'
unix_socket_directories = '{SOCKETS}'
"""
_HBA = "host all all all scram-sha-256\n"


def become_its_user(data: Path) -> None:
    """As root: the data are the image's user's, and so is this process from now on."""
    data.mkdir(parents=True, exist_ok=True)
    for path in (data, *data.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)


def named_user(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that give a name to a user whom /etc/passwd does not have: initdb asks for it."""
    try:
        pwd.getpwuid(os.getuid())
        return dict(environ)
    except KeyError:
        folder = Path(tempfile.mkdtemp())
    name = f"postgres:x:{os.getuid()}:{os.getgid()}:PostgreSQL:{environ['PGDATA']}:/bin/false\n"
    (folder / "passwd").write_text(name)
    (folder / "group").write_text(f"postgres:x:{os.getgid()}:\n")
    return {
        **environ,
        "LD_PRELOAD": NSS_WRAPPER,
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": str(folder / "group"),
    }


def make_cluster(data: Path, options: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raises CalledProcessError, SystemExit with a line for missing variables."""
    user = environ.get("POSTGRES_USER") or "postgres"
    password = environ.get("POSTGRES_PASSWORD")
    if not password:
        sys.exit("PostgreSQL stand-in: POSTGRES_PASSWORD is missing: set it for the superuser")
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    with tempfile.NamedTemporaryFile("w", dir="/tmp") as file:
        file.write(password)
        file.flush()
        more = environ.get("POSTGRES_INITDB_ARGS", "").split()
        command = ["initdb", "-D", str(data), f"--username={user}", f"--pwfile={file.name}", *more]
        subprocess.run(command, env=named_user(environ), check=True)
    for name, text in (("postgresql.conf", _CONF), ("pg_hba.conf", _HBA)):
        with (data / name).open("a") as config:
            config.write(text)
    run_scripts(data, options, {**environ, "PGUSER": user, "PGPASSWORD": password})


def run_scripts(data: Path, options: Sequence[str], environ: Mapping[str, str]) -> None:
    """What is to be done once, by a server that nobody else can reach yet."""
    control = ["pg_ctl", "-D", str(data), "-w", "-t", START_TIMEOUT_S]
    # With the command's own options: a script may make an extension that has to be preloaded.
    words = " ".join((*map(_quoted, options), "-c", "listen_addresses=''", "-p", "5432"))
    subprocess.run([*control, "-o", words, "start"], env=environ, check=True)
    database = environ.get("POSTGRES_DB") or environ["PGUSER"]
    psql = ["psql", "-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc"]
    if database != "postgres":
        create = [*psql, "-d", "postgres", "-c", f'CREATE DATABASE "{database}"']
        subprocess.run(create, env=environ, check=True)
    for script in sorted(SCRIPTS.iterdir()):
        print(f"running {script}", flush=True)
        if script.suffix == ".sql":
            subprocess.run([*psql, "-d", database, "-f", str(script)], env=environ, check=True)
        elif script.suffix == ".sh":
            subprocess.run(["bash", str(script)], env=environ, check=True)
    subprocess.run([*control, "-m", "fast", "stop"], env=environ, check=True)


def _quoted(word: str) -> str:
    """For the shell by which pg_ctl starts the server."""
    return "'" + word.replace("'", "'\\''") + "'"


def main() -> None:
    """Becomes the command."""
    command = sys.argv[1:] or ["postgres"]
    if command[0].startswith("-"):
        command = ["postgres", *command]
    if command[0] == "postgres":
        data = Path(os.environ["PGDATA"])
        if os.getuid() == 0:
            become_its_user(data)
        if not (data / "PG_VERSION").exists():
            try:
                make_cluster(data, command[1:], os.environ)
            except (subprocess.CalledProcessError, OSError) as error:
                shutil.rmtree(data, ignore_errors=True)  # so that the next start begins anew
                sys.exit(f"PostgreSQL stand-in: no cluster was made: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
