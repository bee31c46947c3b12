"""A wrong environment is refused in one line that says what to do."""

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from infra.service.settings import ServiceSettings, load_settings


class Lamp(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="LAMP_")

    secret: SecretStr = Field(min_length=8, description="what nobody may know")
    watts: int = Field(60, gt=0, description="power, watts, above 0")


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        load_settings(Lamp)
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n") and err.count("\n") == 1
    return err


def test_loads_and_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMP_SECRET", "longenough")
    lamp = load_settings(Lamp)
    assert lamp.watts == 60
    with pytest.raises(ValidationError):
        lamp.watts = 1  # type: ignore[misc]


def test_missing_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert "LAMP_SECRET is missing, set it to: what nobody may know" in refused(capsys)


@pytest.mark.parametrize("value", ["0", "-1", "bright", "1.5"])
def test_refused_value(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMP_SECRET", "longenough")
    monkeypatch.setenv("LAMP_WATTS", value)
    line = refused(capsys)
    assert "LAMP_WATTS is refused" in line
    assert "expected: power, watts, above 0" in line


def test_all_problems_stand_in_the_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMP_WATTS", "0")
    line = refused(capsys)
    assert "LAMP_SECRET" in line
    assert "LAMP_WATTS" in line


def test_a_refused_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMP_SECRET", "hunter2")
    line = refused(capsys)
    assert "LAMP_SECRET is refused" in line
    assert "hunter2" not in line


def test_mistyped_variable_is_not_ignored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMP_SECRET", "longenough")
    monkeypatch.setenv("LAMP_WATS", "40")
    assert "LAMP_WATS is no setting of this service, did you mean LAMP_WATTS?" in refused(capsys)


def test_empty_variable_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMP_SECRET", "")
    assert "LAMP_SECRET is missing" in refused(capsys)
