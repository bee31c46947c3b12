"""What the stand-ins' entry points make of words and variables, as upstream's images do."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.images.standins import kafka, nginx, toxiproxy, valkey


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("KAFKA_NODE_ID", "node.id"),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "listener.security.protocol.map"),
        ("KAFKA_A__B", "a_b"),
        ("KAFKA_A___B", "a-b"),
        ("KAFKA_A_B__C___D", "a.b_c-d"),
    ],
)
def test_kafkas_variables_are_properties(variable: str, name: str) -> None:
    assert kafka.property_name(variable) == name
    assert kafka.properties({variable: "1", "PATH": "x"})[name] == "1"


def test_kafkas_variables_for_java_are_none() -> None:
    environ = {"KAFKA_HEAP_OPTS": "-Xmx64m", "KAFKA_OPTS": "-Da=b -Dc=d", "KAFKA_NODE_ID": "1"}
    assert kafka.properties(environ) == {"log.dirs": kafka.DEFAULT_LOG_DIRS, "node.id": "1"}
    words = kafka.java(environ)
    assert words[:2] == ["java", "-Xmx64m"] and {"-Da=b", "-Dc=d"} <= {*words}


def test_nginx_templates_take_what_is_set_and_leave_nginxs_own() -> None:
    text = "listen ${PORT}; a $PORT $PORTS $request_id ${missing} $1;"
    assert nginx.filled(text, {"PORT": "8400"}) == (
        "listen 8400; a 8400 $PORTS $request_id ${missing} $1;"
    )


def test_nginx_templates_are_written_below_the_output_folder(tmp_path: Path) -> None:
    source, target = tmp_path / "templates", tmp_path / "out"
    (source / "more").mkdir(parents=True)
    (source / "front.conf.template").write_text("listen ${PORT};")
    (source / "more" / "b.conf.template").write_text("b")
    (source / "left.conf").write_text("left")
    environ = {"NGINX_ENVSUBST_TEMPLATE_DIR": str(source), "NGINX_ENVSUBST_OUTPUT_DIR": str(target)}
    nginx.fill_templates({**environ, "PORT": "1"})
    assert (target / "front.conf").read_text() == "listen 1;"
    assert (target / "more" / "b.conf").read_text() == "b"
    assert not (target / "left.conf").exists()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], ["valkey-server", "--protected-mode", "no"]),
        (
            ["valkey-server", "--save", ""],
            ["valkey-server", "--protected-mode", "no", "--save", ""],
        ),
        (["--save", ""], ["valkey-server", "--protected-mode", "no", "--save", ""]),
        (
            ["/a/b.conf", "--save", ""],
            ["valkey-server", "/a/b.conf", "--protected-mode", "no", "--save", ""],
        ),
        (["valkey-cli", "ping"], ["valkey-cli", "ping"]),
    ],
)
def test_valkeys_words(words: list[str], command: list[str]) -> None:
    assert valkey.command_of(words) == command


def test_toxiproxys_options_are_the_fault_proxys() -> None:
    words = ["-host=0.0.0.0", "--port", "8474", "-config=/links.json"]
    assert toxiproxy.options(words) == [
        *("--host=0.0.0.0", "--port", "8474", "--config=/links.json"),
    ]
    with pytest.raises(ValueError, match="proxy-metrics"):
        toxiproxy.options(["-proxy-metrics"])
