"""What servers cost, and which key is whose."""

from __future__ import annotations

from typing import Any

import pytest

from infra.ansible.hetzner.filter_plugins.hetzner import bill, rules, same_key


def _prices(**by_location: str) -> list[dict[str, Any]]:
    return [
        {"location": name, "price_hourly": {"net": "9.9", "gross": gross}}
        for name, gross in by_location.items()
    ]


PRICING = {
    "currency": "EUR",
    "server_types": [
        {"name": "cx23", "prices": _prices(fsn1="0.0059500000", hel1="0.0100000000")},
        {"name": "cpx99", "prices": _prices(hel1="1.0000000000")},
    ],
    "primary_ips": [
        {"type": "ipv6", "prices": _prices(fsn1="0.5")},
        {"type": "ipv4", "prices": _prices(fsn1="0.0009520000", hel1="0.0010")},
    ],
}
TWO = [{"name": name, "type": "cx23", "groups": ["app", "db"]} for name in ("one", "two")]


def test_a_bill_has_server_and_address_at_its_location_with_vat() -> None:
    assert bill(TWO, PRICING, "fsn1") == [
        "server one (app, db): cx23 in fsn1 with an IPv4 address, 0.0069 EUR per hour",
        "server two (app, db): cx23 in fsn1 with an IPv4 address, 0.0069 EUR per hour",
        "in all: 0.0138 EUR per hour, VAT included",
    ]


def test_a_type_that_the_location_lacks_is_named_with_those_it_has() -> None:
    servers = [{"name": "big", "type": "cpx99", "groups": []}]
    with pytest.raises(ValueError, match=r"^big: there is no cpx99 in fsn1: it has cx23$"):
        bill(servers, PRICING, "fsn1")


def test_an_unknown_location_is_no_free_one() -> None:
    with pytest.raises(ValueError, match="no IPv4 address in moon"):
        bill([], PRICING, "moon")


def test_a_rule_has_every_field_that_the_api_answers_with() -> None:
    [rule] = rules([8400], ["::/0"], "web")
    assert rule["port"] == "8400" and rule["destination_ips"] == []


def test_a_key_is_the_same_whatever_its_comment() -> None:
    keys = [
        {"name": "laptop", "public_key": "ssh-ed25519 AAAA of my laptop"},
        {"name": "other", "public_key": "ssh-ed25519 BBBB"},
    ]
    assert same_key(keys, "ssh-ed25519 AAAA\n") == ["laptop"]
    assert same_key(keys, "ssh-rsa AAAA") == []
