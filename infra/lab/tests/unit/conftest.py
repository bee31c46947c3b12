"""A site without processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.lab.site import Site

PORTS = {"front": 21000, "web": 21001, "db": 21002, "cache": 21003, "kafka": 21004}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An instance in a temporary folder that nobody started."""
    return site_at(tmp_path)


def site_at(root: Path, clone: Path = Path("/clone")) -> Site:
    """An instance at `root`, of the clone at `clone`."""
    return Site(
        week="week99",
        clone=clone,
        home=root / "home",
        root=root,
        ports={**PORTS, "kafka-controller": 21005},
        secrets={},
        account=None,
    )
