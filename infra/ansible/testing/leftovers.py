"""What is on a host, to compare before a site.yml with after its reset.yml."""

from __future__ import annotations

from infra.ansible.testing.docker import docker
from infra.ansible.testing.hosts import Host

LIST = r"""
dpkg-query -W -f 'package ${Package} ${db:Status-Status}\n'
sed 's/^/user /; s/:.*//' /etc/passwd
sed 's/^/group /; s/:.*//' /etc/group
systemctl list-unit-files --no-legend --no-pager | sed 's/^\([^ ]*\) *\([^ ]*\).*/unit file \1 \2/'
systemctl list-units --no-legend --plain --no-pager --type=service --state=active,failed |
    sed 's/ .*//; s/^/running /'
find /etc /opt /srv /home /root /usr/local /var/lib /var/cache /var/log /var/spool \
    -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache/apt \
    -o -path /root/.ansible -o -path /var/log/journal \) -prune -o -print | sed 's/^/file /'
"""
# Written by Debian's tools for themselves whenever packages or users come and go.
NOISE = (
    "file /etc/.pwd.lock",
    "file /etc/group-",
    "file /etc/gshadow-",
    "file /etc/passwd-",
    "file /etc/shadow-",
    "file /etc/subgid",
    "file /etc/subuid",
    "file /var/cache/debconf/",
    "file /var/cache/ldconfig",
    "file /var/lib/systemd/deb-systemd-",
    "file /var/lib/ucf/",
    "file /var/lib/systemd/timers",
    "file /var/log/apt",
    "file /var/log/dpkg.log",
    "file /var/log/alternatives.log",
)


def there(host: Host) -> frozenset[str]:
    """One line for each package, user, group, unit, running service and file of the host."""
    lines = docker("exec", host.container, "bash", "-c", LIST).splitlines()
    return frozenset(line for line in lines if not line.startswith(NOISE))
