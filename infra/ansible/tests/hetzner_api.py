"""A small stand-in of the Hetzner Cloud API on loopback, with only what the playbooks ask for.

Shapes are those of https://docs.hetzner.cloud/reference/cloud as of 2026-07, so a server has
`location` and no `datacenter`. Everything lives in memory; each action has succeeded at once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-the-stand-in"
CREATED = "2026-07-20T10:00:00+00:00"
ACTION = {
    **{"id": 1, "command": "stand_in", "status": "success", "progress": 100, "error": None},
    **{"started": CREATED, "finished": CREATED, "resources": []},
}
LOCATION = {
    **{"id": 1, "name": "fsn1", "description": "Falkenstein DC Park 1", "country": "DE"},
    **{"city": "Falkenstein", "latitude": 50.47612, "longitude": 12.370071},
    "network_zone": "eu-central",
}
IMAGE = {
    **{"id": 114, "type": "system", "status": "available", "name": "debian-13"},
    **{"description": "Debian 13", "image_size": None, "disk_size": 5, "created": CREATED},
    **{"created_from": None, "bound_to": None, "os_flavor": "debian", "os_version": "13"},
    **{"rapid_deploy": True, "protection": {"delete": False}, "deprecated": None, "deleted": None},
    **{"labels": {}, "architecture": "x86"},
}
Json = dict[str, Any]


def price(amount: str) -> Json:
    """One location's price of something; twice `amount` with VAT, so that a mix-up shows."""
    gross = str(2 * float(amount))
    both = {"net": amount, "gross": gross}
    return {"location": "fsn1", "price_hourly": both, "price_monthly": both}


SERVER_TYPE = {
    **{"id": 114, "name": "cx23", "description": "CX23", "category": "Cost-Optimized", "cores": 2},
    **{"memory": 4.0, "disk": 40, "storage_type": "local", "cpu_type": "shared"},
    **{"architecture": "x86", "deprecation": None, "prices": [price("0.0050")]},
    "locations": [
        {"id": 1, "name": "fsn1", "deprecation": None, "available": True, "recommended": True}
    ],
}
PRICING = {
    **{"currency": "EUR", "vat_rate": "100.00"},
    "server_types": [{"id": 114, "name": "cx23", "prices": [price("0.0050")]}],
    "primary_ips": [
        {"type": "ipv4", "prices": [price("0.0010")]},
        {"type": "ipv6", "prices": [price("0.0000")]},
    ],
}


class Project:
    """What one project holds, by kind and id, and every request that was made of it."""

    def __init__(self) -> None:
        self.held: dict[str, dict[int, Json]] = {
            **{"ssh_keys": {}, "networks": {}, "firewalls": {}, "servers": {}},
            **{"locations": {1: LOCATION}, "images": {114: IMAGE}},
            **{"server_types": {114: SERVER_TYPE}, "actions": {1: ACTION}},
        }
        self.requests: list[tuple[str, str]] = []
        self._next_id = 1000

    def names(self, kind: str) -> list[str]:
        return sorted(entry["name"] for entry in self.held[kind].values())

    def add(self, kind: str, entry: Json) -> Json:
        self._next_id += 1
        made = {"id": self._next_id, "created": CREATED, "labels": {}, **entry}
        self.held[kind][self._next_id] = made
        return made

    def listed(self, kind: str, query: dict[str, list[str]]) -> Json:
        found = [
            entry
            for entry in self.held[kind].values()
            if entry["name"] in query.get("name", [entry["name"]])
            and all(_selected(entry, text) for text in query.get("label_selector", []))
        ]
        page = {"page": 1, "per_page": 50, "previous_page": None, "next_page": None}
        pagination = {**page, "last_page": 1, "total_entries": len(found)}
        return {kind: found, "meta": {"pagination": pagination}}

    def make_ssh_key(self, asked: Json) -> Json:
        digest = hashlib.md5(base64.b64decode(asked["public_key"].split()[1])).hexdigest()
        fingerprint = ":".join(re.findall("..", digest))
        return {"ssh_key": self.add("ssh_keys", {**asked, "fingerprint": fingerprint})}

    def make_network(self, asked: Json) -> Json:
        empty: Json = {"subnets": [], "routes": [], "servers": [], "load_balancers": []}
        more = {"protection": {"delete": False}, "expose_routes_to_vswitch": False}
        return {"network": self.add("networks", {**empty, **more, **asked})}

    def make_firewall(self, asked: Json) -> Json:
        # The API names both lists of each rule, whatever was sent.
        both: Json = {"source_ips": [], "destination_ips": [], "description": None}
        rules = [{**both, **rule} for rule in asked.get("rules", [])]
        made = self.add("firewalls", {"applied_to": [], **asked, "rules": rules})
        return {"firewall": made, "actions": []}

    def make_server(self, asked: Json) -> Json:
        inner = [
            {"network": number, "ip": "10.84.1.2", "alias_ips": [], "mac_address": "86:00:00:00"}
            for number in asked.get("networks", [])
        ]
        ipv4 = {"id": 1, "ip": "127.0.0.1", "blocked": False, "dns_ptr": "localhost"}
        walls = [
            {"id": wall["firewall"], "status": "applied"} for wall in asked.get("firewalls", [])
        ]
        public = {"ipv4": ipv4, "ipv6": None, "floating_ips": [], "firewalls": walls}
        made = {
            **{"name": asked["name"], "status": "running", "labels": asked["labels"]},
            **{"public_net": public, "private_net": inner, "server_type": SERVER_TYPE},
            **{"location": LOCATION, "image": IMAGE, "iso": None, "rescue_enabled": False},
            **{"locked": False, "backup_window": None, "volumes": [], "load_balancers": []},
            **{"protection": {"delete": False, "rebuild": False}, "placement_group": None},
            **{"outgoing_traffic": 0, "ingoing_traffic": 0, "included_traffic": 0},
            "primary_disk_size": 40,
        }
        server = self.add("servers", made)
        return {"server": server, "action": ACTION, "next_actions": [], "root_password": None}

    def add_subnet(self, number: int, asked: Json) -> Json:
        self.held["networks"][number]["subnets"].append(
            {**asked, "gateway": "10.84.0.1", "vswitch_id": None}
        )
        return {"action": ACTION}


def _selected(entry: Json, selector: str) -> bool:
    """Whether the labels agree with `a=b,c=d`, the only form the playbooks use."""
    return all(
        entry["labels"].get(name) == value
        for name, _, value in (term.partition("=") for term in selector.split(","))
    )


class _Handler(BaseHTTPRequestHandler):
    project: Project

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        kind, _, number = address.path.removeprefix("/v1/").partition("/")
        if kind == "pricing":
            self._answer(200, {"pricing": PRICING})
        elif kind not in self.project.held:
            self._refuse(404, "not_found")
        elif not number:
            self._answer(200, self.project.listed(kind, parse_qs(address.query)))
        elif int(number) in self.project.held[kind]:
            self._answer(200, {kind.removesuffix("s"): self.project.held[kind][int(number)]})
        else:
            self._refuse(404, "not_found")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        parts = urlsplit(self.path).path.removeprefix("/v1/").split("/")
        makers = {
            "ssh_keys": self.project.make_ssh_key,
            "networks": self.project.make_network,
            "firewalls": self.project.make_firewall,
            "servers": self.project.make_server,
        }
        if len(parts) == 1 and parts[0] in makers:
            self._answer(201, makers[parts[0]](asked))
        elif parts[0] == "networks" and parts[2:] == ["actions", "add_subnet"]:
            self._answer(201, self.project.add_subnet(int(parts[1]), asked))
        else:
            self._refuse(404, "not_found")

    def do_DELETE(self) -> None:
        kind, _, number = urlsplit(self.path).path.removeprefix("/v1/").partition("/")
        if self.project.held.get(kind, {}).pop(int(number), None) is None:
            self._refuse(404, "not_found")
        elif kind == "servers":
            self._answer(200, {"action": ACTION})
        else:
            self._answer(204, None)

    def parse_request(self) -> bool:
        """Every request is written down; one without the token goes no further."""
        if not super().parse_request():
            return False
        self.project.requests.append((self.command, self.path))
        if self.headers["authorization"] == f"Bearer {TOKEN}":
            return True
        self._refuse(401, "unauthorized")
        return False

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"error": {"code": code, "message": code, "details": None}})

    def _answer(self, status: int, body: Json | None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: `Project.requests` has it."""


@contextlib.contextmanager
def serving(project: Project) -> Iterator[str]:
    """Serves `project`; yields the endpoint."""
    handler = type("Handler", (_Handler,), {"project": project})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
