"""The claims of this folder run on the week's topology with the controls' variants beside it."""

from __future__ import annotations

import pytest

from infra.lab.topology import Topology
from week01_http_server.checks.stands import with_variants


@pytest.fixture(scope="session")
def lab_topology() -> Topology:
    return with_variants
