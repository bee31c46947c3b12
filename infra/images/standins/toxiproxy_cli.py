#!/usr/bin/env python3
"""/toxiproxy-cli of the stand-in: `list` alone, which is what the health check asks."""

from __future__ import annotations

import json
import sys
import urllib.request

API = "http://127.0.0.1:8474"
TIMEOUT_S = 3.0


def main() -> None:
    """Writes the links; fails when the API does not answer."""
    if sys.argv[1:] != ["list"]:
        sys.exit("toxiproxy-cli stand-in: it can `list`; for more use the HTTP API")
    try:
        with urllib.request.urlopen(f"{API}/proxies", timeout=TIMEOUT_S) as answer:
            proxies = json.load(answer)
    except OSError as error:
        sys.exit(f"toxiproxy-cli stand-in: {API}: {error}")
    for name, proxy in proxies.items():
        state = "enabled" if proxy["enabled"] else "disabled"
        sys.stdout.write(f"{name}\t{proxy['listen']}\t{proxy['upstream']}\t{state}\n")


if __name__ == "__main__":
    main()
