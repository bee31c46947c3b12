"""The fixture that everybody's integration tests use."""

from __future__ import annotations

import pytest

from infra.lab.engines.local.engine import LocalEngine
from infra.lab.errors import LabError
from infra.lab.pytest_plugin import LabFactory
from infra.lab.tests.integration.conftest import answers
from infra.lab.tests.sample import light_week, web, week

pytestmark = pytest.mark.integration

LIGHT_WEEK = light_week()


def test_one_instance_is_shared_and_a_failed_one_never(
    running_lab: LabFactory,
) -> None:
    broken = week(web(port=0, environment={"EXIT_SAYING": "no"}))
    for _ in range(2):
        with pytest.raises(LabError, match="web ended while starting: no"):
            running_lab(broken)
    engine = running_lab(LIGHT_WEEK)
    assert isinstance(engine, LocalEngine)
    assert running_lab(LIGHT_WEEK) is engine
    assert answers(engine.site, "first") == 200
    assert engine.site.root.stat().st_mode & 0o005 == 0o005  # the servers' user may enter


def test_other_tests_see_the_same_instance(running_lab: LabFactory) -> None:
    engine = running_lab(LIGHT_WEEK)
    assert answers(engine.site, "second") == 200
