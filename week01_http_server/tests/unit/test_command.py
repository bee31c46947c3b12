import re
from typing import Any

import pytest

from week01_http_server.__main__ import EXIT_BAD_COMMAND, main
from week01_http_server.command import REFUSED, BadCommand, parse
from week01_http_server.settings import Settings
from week01_http_server.workers.plan import ServeApp, ServeDirectory, ServeHello


def settings(*arguments: str, **environment: str) -> Settings:
    return parse(arguments, environment).plan.settings


def refusal(*arguments: str, **environment: str) -> str:
    with pytest.raises(BadCommand) as refused:
        parse(arguments, environment)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_without_options_every_setting_has_its_default() -> None:
    assert settings() == Settings()
    assert parse([], {}).plan.serve == ServeHello()


def test_what_to_serve() -> None:
    assert parse(["main:app"], {}).plan.serve == ServeApp("main:app")
    assert parse(["main:make", "--factory", "--app-dir", "src"], {}).plan.serve == ServeApp(
        "main:make", factory=True, app_dir="src"
    )
    assert parse(["--directory", "site"], {}).plan.serve == ServeDirectory("site")


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        ("--host 0.0.0.0", "host", "0.0.0.0"),
        ("--port 0", "port", 0),
        ("--uds /tmp/s", "unix_path", "/tmp/s"),
        ("--socket-activation", "inherit_sockets", True),
        ("--workers 4", "workers", 4),
        ("--backlog 7", "backlog", 7),
        ("--root-path /api/", "root_path", "/api"),
        ("--lifespan off", "lifespan", "off"),
        ("--no-access-log", "access_log", False),
        ("--no-server-header", "server_header", ""),
        ("--metrics-port 9100", "metrics_port", 9100),
        ("--limit-max-requests 10", "requests_per_worker_max", 10),
        ("--limit-concurrency 10", "limits.connections_max", 10),
        ("--limit-body 0", "limits.body_max_bytes", 0),
        ("--ws-max-size 10", "limits.ws_message_max_bytes", 10),
        ("--timeout-keep-alive 2.5", "deadlines.idle_s", 2.5),
        ("--timeout-graceful-shutdown 3", "deadlines.drain_s", 3.0),
        ("--ws-ping-interval 1", "deadlines.ws_ping_s", 1.0),
        ("--ws-ping-timeout 2", "deadlines.ws_pong_s", 2.0),
        ("--ws-per-message-deflate false", "ws_deflate", False),
        ("--proxy-headers", "trusted_peers", ("127.0.0.1", "::1", "unix")),
        ("--proxy-headers --forwarded-allow-ips 10.0.0.0/8", "trusted_peers", ("10.0.0.0/8",)),
        ("--forwarded-allow-ips 10.0.0.1,unix", "trusted_peers", ("10.0.0.1", "unix")),
        ("--no-proxy-headers --forwarded-allow-ips *", "trusted_peers", ()),
        ("--forwarded-fields forwarded", "forwarded_fields", "forwarded"),
        ("--proxy-protocol --forwarded-allow-ips *", "proxy_protocol", True),
        ("--loop uvloop --http httptools --ws auto --interface asgi3", "workers", 1),
        ("--use-colors --date-header", "workers", 1),
    ],
)
def test_each_option_sets_what_it_names(words: str, path: str, value: object) -> None:
    found: Any = settings(*words.split())
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_certificates_and_keys_are_paired_in_order() -> None:
    words = "--ssl-certfile a.pem --ssl-keyfile a.key --ssl-certfile b.pem --ssl-keyfile b.key"
    tls = settings(*words.split()).tls
    assert tls is not None
    assert tls.pairs == (("a.pem", "a.key"), ("b.pem", "b.key"))


def test_the_environment_gives_defaults_that_options_override() -> None:
    assert settings(WEB_CONCURRENCY="3").workers == 3
    assert settings("--workers", "2", WEB_CONCURRENCY="3").workers == 2
    assert settings(FORWARDED_ALLOW_IPS="10.0.0.1").trusted_peers == ("10.0.0.1",)
    assert "'many' is not a whole number" in refusal(WEB_CONCURRENCY="many")


def test_the_log_level_trace_is_debug() -> None:
    assert parse(["--log-level", "trace"], {}).plan.log_level == "debug"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("main:app --directory x", "choose one"),
        ("--uds a --fd 3", "--uds and --fd: choose one"),
        ("--fd 3 --socket-activation", "choose one"),
        ("--port many", "'many' is not a whole number from 0 to 65535"),
        ("--port 70000", "'70000' is not"),
        ("--workers 0", "'0' is not a whole number from 1"),
        ("--backlog -1", "'-1' is not"),
        ("--timeout-keep-alive nan", "'nan' is not a number"),
        ("--timeout-keep-alive -1", "'-1' is not a number"),
        ("--limit-max-requests 1.5", "'1.5' is not a whole number, at least 0"),
        ("--lifespan maybe", "invalid choice"),
        ("--loop asyncio", "invalid choice"),
        ("--interface wsgi", "invalid choice"),
        ("--ws-per-message-deflate perhaps", "neither true nor false"),
        ("--no-such-option", "--no-such-option"),
        ("--work 3", "--work"),
        ("a:b c:d", "c:d"),
        ("--ssl-certfile a.pem", "needs its --ssl-keyfile"),
        ("--root-path api", "does not begin with '/'"),
        ("--forwarded-allow-ips 10.0.0.1/8", "10.0.0.1/8"),
        ("--proxy-protocol", "--forwarded-allow-ips"),
    ],
)
def test_a_mistake_is_one_line(words: str, said: str) -> None:
    assert said in refusal(*words.split())


@pytest.mark.parametrize("option", sorted(REFUSED))
@pytest.mark.parametrize("value", [(), ("x",)])
def test_an_option_of_uvicorn_without_an_answer_says_why(
    option: str, value: tuple[str, ...]
) -> None:
    assert refusal("main:app", option, *value) == f"{option}: {REFUSED[option]}"


def test_every_option_of_uvicorn_is_followed_or_refused_by_name() -> None:
    uvicorn = pytest.importorskip("uvicorn.main", reason="uvicorn is not installed")
    mine = {option for action in _parser()._actions for option in action.option_strings}
    theirs = {
        option
        for parameter in uvicorn.main.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }
    assert theirs <= mine


def _parser() -> Any:
    from week01_http_server.command import _Parser

    return _Parser({})


def test_the_help_names_every_option_in_lines_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["-h"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    shown = [option for option in _parser()._option_string_actions if option not in REFUSED]
    hidden = {"--loop", "--http", "--ws", "--interface"}
    hidden |= {"--use-colors", "--no-use-colors", "--date-header"}
    for option in shown:
        assert bool(re.search(rf"{option}\b(?!-)", text)) == (option not in hidden), option


@pytest.mark.parametrize(
    "words",
    ["--reload", "--directory /no/such/folder", "--ssl-certfile /no/c --ssl-keyfile /no/k"],
)
def test_a_mistake_ends_the_program_with_status_2(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == EXIT_BAD_COMMAND
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("python -m week01_http_server: ")
