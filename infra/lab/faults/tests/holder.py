"""`python -m infra.lab.faults.tests.holder API_PORT LINK PORT`: holds a fault till it is killed."""

from __future__ import annotations

import sys

import anyio

from infra.lab.faults import questions
from infra.lab.faults.client import Faults
from infra.lab.faults.probes import Link

HOST = "127.0.0.1"


async def main() -> None:
    """Print the proof, then wait for ever."""
    api_port, name, port = sys.argv[1:]
    link = Link(name, HOST, int(port), "", questions.echo())
    async with Faults(HOST, int(api_port)).latency(link, 100) as proof:
        sys.stdout.write(f"{proof}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
