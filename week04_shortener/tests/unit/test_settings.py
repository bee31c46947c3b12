"""The week's settings: what is needed, what is refused, what is the default."""

import pytest

from infra.service.settings import load_settings
from week04_shortener.__main__ import COMMANDS, main
from week04_shortener.limits.rules import rules_of
from week04_shortener.settings import Settings

NEEDED = {
    "DATABASE_URL": "postgresql://shortener:hunter2@127.0.0.1:5432/shortener",
    "VALKEY_URL": "redis://127.0.0.1:6379/0",
    "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "CLICK_LOG_DIR": "clicks",
    "PUBLIC_BASE_URL": "http://127.0.0.1:8400/",
    "CODE_KEY": "sixteen letters!",
    "VISITOR_KEY": "and sixteen more",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"SHORTENER_{name}", value)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings)
    assert exit_.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_the_needed_ones_are_enough() -> None:
    settings = load_settings(Settings)
    assert settings.public_base_url == "http://127.0.0.1:8400"
    assert settings.replica
    assert [str(network) for network in settings.trusted_proxies] == ["127.0.0.1/32", "::1/128"]
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("name", NEEDED)
def test_each_needed_one_is_missed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(f"SHORTENER_{name}")
    assert f"SHORTENER_{name} is missing, set it to: " in refused(capsys)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://hunter2@x/y"), ("VALKEY_URL", "http://hunter2:1"),
        ("KAFKA_BOOTSTRAP", "localhost"), ("KAFKA_BOOTSTRAP", "a:1,b"),
        ("PUBLIC_BASE_URL", "127.0.0.1:8400"), ("PUBLIC_BASE_URL", "http://x/?q"),
        ("PUBLIC_BASE_URL", "http://:8400"), ("PUBLIC_BASE_URL", "http://300.1.1.1"),
        ("PUBLIC_BASE_URL", "http://x:hunter2"), ("PUBLIC_BASE_URL", "http://a:hunter2@x"),
        ("PUBLIC_BASE_URL", "http://ä.example"), ("PUBLIC_BASE_URL", "http://x/ä"),
        ("PUBLIC_BASE_URL", "http://[::1"), ("VALKEY_URL", "redis://x:hunter2"),
        ("DATABASE_URL", "postgresql://x:hunter2/y"), ("DATABASE_URL", "postgresql://u:hunter2/@x"),
        ("DATABASE_URL", "postgresql://x:1,y:hunter2/z"),
        ("CODE_KEY", "hunter2"), ("CODE_KEY", "x" * 65), ("CODE_KEY", "ä" * 33), ("REPLICA", "a b"),
        ("ADMIN_PORT", "65536"), ("ADMIN_PORT", "http"), ("TRUSTED_PROXIES", "localhost"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"), ("CACHE_TTL_S", "0"), ("CACHE_TTL_S", "nan"),
        ("CACHE_TTL_JITTER", "1"), ("LOG_LEVEL", "LOUD"), ("CLICKS_PARTITIONS", "0"),
        ("CONSUMER_SESSION_TIMEOUT_S", "1"), ("FORWARD_POLL_S", "-1"), ("DRAIN_S", "inf"),
    ],
)  # fmt: skip
def test_wrong_values_are_named_and_not_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"SHORTENER_{name}", value)
    line = refused(capsys)
    assert f"SHORTENER_{name} is refused" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db?host=/run/postgresql",
        "postgresql://u:p:w@[::1]:5432/db",
        "postgres://u@a:5432,b.example,c:5433/db",
        "postgresql://u@%2Frun%2Fpostgresql/db",
    ],
)
def test_every_form_of_a_database_address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORTENER_DATABASE_URL", url)
    assert load_settings(Settings).database_url.get_secret_value() == url


def test_settings_that_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHORTENER_RETRY_FIRST_S", "9")
    assert "SHORTENER_RETRY_FIRST_S must not exceed SHORTENER_RETRY_MOST_S" in refused(capsys)


@pytest.mark.parametrize("name", ["CACHE_TTL_S", "CACHE_NEGATIVE_TTL_S"])
def test_an_entry_outlives_a_slow_write(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"SHORTENER_{name}", "0.2")
    assert "SHORTENER_CACHE_TIMEOUT_S must not exceed half" in refused(capsys)
    monkeypatch.setenv(f"SHORTENER_{name}", "0.3")
    load_settings(Settings)


def test_a_burst_comes_back_within_a_month(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHORTENER_WRITES_PER_S", "0.0007")
    assert "SHORTENER_WRITE_BURST takes more than 30 days" in refused(capsys)
    monkeypatch.setenv("SHORTENER_WRITE_BURST", "1000")
    rules_of(load_settings(Settings))


@pytest.mark.parametrize(
    ("address", "fine"),
    [("http://127.0.0.1:8400", True), ("http://[::1]", True), ("http://localhost:1", True),
     ("http://10.0.0.1", False), ("https://sho.rt", False), ("http://localhost.example", False)],
)  # fmt: skip
def test_open_mode_is_for_loopback(
    address: str, fine: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHORTENER_PUBLIC_BASE_URL", address)
    monkeypatch.setenv("SHORTENER_OPEN_MODE", "true")
    if fine:
        assert load_settings(Settings).open_mode
    else:
        assert "SHORTENER_OPEN_MODE is for loopback only" in refused(capsys)


def test_proxies_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORTENER_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32")
    proxies = load_settings(Settings).trusted_proxies
    assert [str(network) for network in proxies] == ["10.0.0.0/8", "2001:db8::/32"]


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if name.endswith("_s") and not name.endswith("_per_s"):
            assert "seconds" in field.description, name
        if name.endswith("_bytes"):
            assert "bytes" in field.description, name


@pytest.mark.parametrize("arguments", [[], ["migrate"], ["setup", "now"], ["Setup"]])
def test_a_wrong_command_gets_one_line_with_the_list(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert all(command in err for command in COMMANDS)
