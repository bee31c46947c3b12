"""A workshop for each test that needs one."""

from __future__ import annotations

import pytest

from infra.evidence.tests.workshop import Workshop


@pytest.fixture
def workshop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    # Installed plugins of no use here cost each inner session a second.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Workshop(pytester)
