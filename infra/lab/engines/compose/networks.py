"""Which addresses an instance's network gets. Pure, but for the question what is taken."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable

from infra.lab.engines.compose import docker
from infra.lab.errors import LabError, UsageError

TRIED = range(96, 256)
"""Third numbers of 172.31.0.0/16 for instances that only live as long as a test; those below are
left to the weeks' own defaults."""


def parse(text: str) -> str:
    """`172.31.84` from SUBNET; it stands for 172.31.84.0/24. Raises UsageError."""
    if re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", text):
        try:
            if ipaddress.ip_network(f"{text}.0/24").is_private:
                return text
        except ValueError:
            pass
    raise UsageError(f"SUBNET={text} is no subnet: give the first three numbers, as 172.31.84")


def choose(taken: Iterable[str], seed: int | None = None) -> str:
    """Three numbers of a /24 that meets none of `taken` (CIDR). Raises LabError without one."""
    networks = [ipaddress.ip_network(one, strict=False) for one in taken]
    candidates = list(TRIED)
    random.Random(seed).shuffle(candidates)
    for number in candidates:
        candidate = ipaddress.ip_network(f"172.31.{number}.0/24")
        if not any(candidate.overlaps(one) for one in networks if one.version == 4):
            return f"172.31.{number}"
    raise LabError("no addresses are free for one more Docker network: `docker network prune`")


def taken() -> list[str]:
    """Subnets (CIDR) of Docker's networks."""
    ids = docker.ask("asking for the networks", "network", "ls", "--quiet").split()
    if not ids:
        return []
    found = docker.ask_json("asking for the networks", "network", "inspect", *ids)
    return [
        str(pool["Subnet"])
        for network in found
        for pool in (network.get("IPAM") or {}).get("Config") or ()
        if pool.get("Subnet")
    ]
