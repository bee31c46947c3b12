"""Filters of the playbooks beside it: what servers cost, and the rules of a firewall.

Ansible loads this file by its path, so it imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

Json = Mapping[str, Any]


def bill(servers: Sequence[Json], pricing: Json, location: str) -> list[str]:
    """A line for each server and one with the sum, per hour and with VAT.

    Args:
        servers: each with `name`, `type` and `groups`.
        pricing: `pricing` of the API's answer to GET /pricing
            (https://docs.hetzner.cloud/reference/cloud#pricing).
        location: such as fsn1.

    Raises ValueError for a server type that the location does not have, with those that it has.
    """
    currency = pricing["currency"]
    types = {
        entry["name"]: price
        for entry in pricing["server_types"]
        if (price := _hourly(entry["prices"], location)) is not None
    }
    addresses = [entry for entry in pricing["primary_ips"] if entry["type"] == "ipv4"]
    address = _hourly(addresses[0]["prices"], location) if addresses else None
    if address is None:
        raise ValueError(f"the price list has no IPv4 address in {location}: is it a location?")
    total = Decimal(0)
    lines = []
    for server in servers:
        if server["type"] not in types:
            known = ", ".join(sorted(types))
            raise ValueError(
                f"{server['name']}: there is no {server['type']} in {location}: it has {known}"
            )
        price = types[server["type"]] + address
        total += price
        groups = ", ".join(server["groups"])
        lines.append(
            f"server {server['name']} ({groups}): {server['type']} in {location} with an IPv4"
            f" address, {_rounded(price)} {currency} per hour"
        )
    return [*lines, f"in all: {_rounded(total)} {currency} per hour, VAT included"]


def rules(ports: Sequence[object], sources: Sequence[str], what: str) -> list[dict[str, Any]]:
    """Rules that let TCP from `sources` in to `ports`, as the API keeps them: so that asking
    again finds nothing changed."""
    return [
        {
            "description": what,
            "direction": "in",
            "protocol": "tcp",
            "port": str(port),
            "source_ips": list(sources),
            "destination_ips": [],
        }
        for port in ports
    ]


def same_key(keys: Sequence[Json], public_key: str) -> list[str]:
    """Names of those keys of a project that are `public_key`, whatever their comments say."""
    wanted = public_key.split()[:2]
    return [key["name"] for key in keys if key["public_key"].split()[:2] == wanted]


def _hourly(prices: Sequence[Json], location: str) -> Decimal | None:
    for price in prices:
        if price["location"] == location:
            return Decimal(price["price_hourly"]["gross"])
    return None


def _rounded(price: Decimal) -> str:
    return str(price.quantize(Decimal("0.0001")))


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"hetzner_bill": bill, "hetzner_open": rules, "hetzner_same_key": same_key}
