"""The words of the commands: what they mean, what is refused in one line, what a table is."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener import commands
from week04_shortener.__main__ import COMMANDS, FOR_PEOPLE, main
from week04_shortener.analytics.statistics import hours_until
from week04_shortener.commands import Parser, table
from week04_shortener.settings import Settings
from week04_shortener.workers import topics


def parsed(name: str, *words: str) -> commands.Words:
    parser = Parser(prog=name)
    FOR_PEOPLE[name](parser)
    return parser.parse_args(words)


def test_places_may_leave_out_the_partition() -> None:
    words = parsed("dead-letters", "replay", "17", "2:3")
    assert words.places == [(0, 17), (2, 3)]
    assert words.command is commands.replay_letters
    assert parsed("dead-letters", "show", "1:0").place == (1, 0)


def test_the_list_has_a_limit() -> None:
    assert parsed("dead-letters", "list").limit == commands.LISTED
    assert parsed("dead-letters", "list", "--limit", "7").limit == 7


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("dead-letters", "list|show|replay"),
        ("dead-letters burn", "'list', 'show', 'replay'"),
        ("dead-letters list --limit 0", "'0' is no number 1 to 10000"),
        ("dead-letters list --limit -1", "--limit"),
        ("dead-letters list --limit 1e3", "'1e3' is no number"),
        ("dead-letters list 3", "unrecognized arguments: 3"),
        ("dead-letters show", "[PARTITION:]OFFSET"),
        ("dead-letters show 1:2:3", "'1:2:3' is no [PARTITION:]OFFSET, such as 0:17"),
        ("dead-letters show ٣", "is no [PARTITION:]OFFSET"),
        ("dead-letters replay everything", "'everything' is no [PARTITION:]OFFSET"),
        ("keys", "create|list|revoke"),
        ("keys create", "NAME"),
        ("keys revoke one", "'one' is no id"),
        ("keys revoke", "ID"),
        ("consumer now", "|".join(COMMANDS)),
    ],
)
def test_wrong_words_get_one_line_that_names_the_right_ones(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert complaint in said.err


@pytest.mark.parametrize("words", [["replay"], ["replay", "--all", "3"]])
def test_replay_is_told_which(
    words: list[str], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        asyncio.run(commands.run(settings, parsed("dead-letters", *words)))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "which ones? --all, or some [PARTITION:]OFFSET, not both" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "server"),
    [("dead-letters list", "Kafka"), ("dead-letters replay 1", "Kafka"),
     ("keys list", "PostgreSQL"), ("keys revoke 1", "PostgreSQL")],
)  # fmt: skip
def test_a_server_that_is_away_is_named(words: str, server: str, settings: Settings) -> None:
    with pytest.raises(commands.Failed, match=f"^{server} does not answer"):
        asyncio.run(commands.run(settings, parsed(*words.split())))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Everything that is needed; port 1 on loopback answers nobody."""
    environment = {
        "DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/none",
        "VALKEY_URL": "redis://127.0.0.1:1/0",
        "KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "CLICK_LOG_DIR": "clicks",
        "PUBLIC_BASE_URL": "http://127.0.0.1:8400",
        "CODE_KEY": "sixteen letters!",
        "VISITOR_KEY": "and sixteen more",
        "KAFKA_REQUEST_TIMEOUT_S": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"SHORTENER_{name}", value)
    return Settings()


def test_a_table_has_columns() -> None:
    rows = [("1", "short", "last"), ("22", "rather long", "")]
    assert table(("id", "what", "x"), rows) == (
        "id  what         x\n1   short        last\n22  rather long"
    )


@given(st.binary(max_size=60))
def test_bytes_from_outside_cannot_steer_the_terminal(data: bytes) -> None:
    assert commands._text(data).isprintable()


def test_topics_forget_clicks_before_their_ids_are_forgotten(settings: Settings) -> None:
    made = {topic.name: topic for topic in topics(settings)}
    assert made.keys() == {"clicks", "clicks-dead", "links"}
    for name in ("clicks", "clicks-dead"):
        config = made[name].config
        longest_ms = int(config["retention.ms"]) + int(config["segment.ms"])
        assert longest_ms < settings.dedupe_days * 86_400_000


def test_ids_cannot_be_forgotten_before_the_clicks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.clicks_retention_days < settings.dedupe_days
    monkeypatch.setenv("SHORTENER_DEDUPE_DAYS", "7.4")
    with pytest.raises(ValueError, match="SHORTENER_DEDUPE_DAYS must exceed"):
        Settings()


def test_hours_have_no_gaps_and_end_now() -> None:
    now = datetime(2026, 3, 29, 1, 59, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    hours = hours_until(now, 48)
    assert hours[-1] == datetime(2026, 3, 28, 20, tzinfo=UTC)
    assert all(b - a == timedelta(hours=1) for a, b in itertools.pairwise(hours))
    assert len(hours) == 48
