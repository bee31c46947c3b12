"""The configuration files that the server modules write."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import LabError, NotReadyError
from infra.lab.servers.kafka import Kafka
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Site
from infra.lab.tests.sample import front
from infra.lab.tests.unit.conftest import site_at

NASTY = [
    "plain",
    "with spaces",
    "semi;colon",
    "ha#sh",
    "dol$lar $host ${x}",
    "per%cent %(here)s",
    "quote\"s 'n' ticks`",
    "back\\slash \\n",
    "{braces}",
    "glob [ab] * ?",
    "back\\slash [and] glob",
    "ünïcödé 日本",
    "-dash",
    "line\nbreak",
]


@pytest.mark.parametrize("folder", NASTY)
def test_nginx_reads_the_weeks_file_from_any_path(tmp_path: Path, folder: str) -> None:
    clone = tmp_path / folder
    config = clone / front().config
    config.parent.mkdir(parents=True)
    config.write_text("location /proof-of-inclusion { return 204; }\n")
    site = site_at(tmp_path / folder / "root", clone)
    server = front()
    server.prepare(site)
    done = subprocess.run(
        [*server.launch(site).argv, "-T"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "proof-of-inclusion" in done.stdout


def test_nginx_lists_the_upstreams_of_this_instance(site: Site) -> None:
    text = front().render(site)
    assert "listen 127.0.0.1:21000;" in text
    assert "upstream sample_web {\n        server 127.0.0.1:21001 fail_timeout=1s;" in text
    assert "\nuser " not in text


def test_kafka_is_one_node_on_loopback(site: Site) -> None:
    kafka = Kafka(name="kafka", port=4, controller_port=5, settings={"num.partitions": "2"})
    lines = kafka.properties(site).splitlines()
    entries = dict(line.split("=", 1) for line in lines)
    assert len(entries) == len(lines)
    assert entries["listeners"] == "PLAINTEXT://127.0.0.1:21004,CONTROLLER://127.0.0.1:21005"
    assert entries["advertised.listeners"] == "PLAINTEXT://127.0.0.1:21004"
    assert entries["controller.quorum.bootstrap.servers"] == "127.0.0.1:21005"
    assert entries["num.partitions"] == "2"


def test_kafka_answers_on_a_link_with_the_links_address(site: Site) -> None:
    linked = replace(site, ports={**site.ports, "to-kafka": 21011, "to-kafka-behind": 21012})
    text = Kafka(name="kafka", port=4, controller_port=5).properties(linked)
    entries = dict(line.split("=", 1) for line in text.splitlines())
    assert ",LINK://127.0.0.1:21012,CONTROLLER" in entries["listeners"]
    assert entries["advertised.listeners"].endswith(",LINK://127.0.0.1:21011")
    assert "LINK:PLAINTEXT" in entries["listener.security.protocol.map"]


def test_a_kafka_that_does_not_answer_yet_is_no_error_in_anybodys_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = replace(site, ports={**site.ports, "kafka": free_ports(1)[0]})
    with pytest.raises(NotReadyError, match="no answer yet"):
        anyio.run(Kafka(name="kafka", port=4, controller_port=5).probe, nobody)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    logging.getLogger("aiokafka").error("of a client that is no probe")
    assert "of a client" in caplog.text


def test_services_are_given_the_link_where_there_is_one(site: Site) -> None:
    linked = replace(site, ports={**site.ports, "to-db": 21011}, secrets={"p": "x"})
    database = Postgres(name="db", port=2, database="d", password_secret="p")
    assert (site.way("db"), linked.way("db")) == ("127.0.0.1:21002", "127.0.0.1:21011")
    assert database.dsn(linked) == "postgresql://d:x@127.0.0.1:21002/d"
    assert database.dsn(linked, linked.way("db")) == "postgresql://d:x@127.0.0.1:21011/d"


@pytest.mark.parametrize("folder", NASTY)
def test_no_path_of_the_user_stands_in_kafkas_properties(tmp_path: Path, folder: str) -> None:
    site = site_at(tmp_path / folder)
    text = Kafka(name="kafka", port=4, controller_port=5).properties(site)
    assert str(tmp_path) not in text
    assert (site.run_dir("kafka") / "../../data/kafka").resolve() == site.data_dir("kafka")


def test_a_setting_of_the_week_wins_over_the_default(site: Site) -> None:
    kafka = Kafka(
        name="kafka", port=4, controller_port=5, settings={"auto.create.topics.enable": "true"}
    )
    assert kafka.properties(site).count("auto.create.topics.enable=") == 1
    assert "auto.create.topics.enable=true\n" in kafka.properties(site)


def test_valkey_and_postgres_listen_on_loopback_alone(site: Site) -> None:
    valkey = Valkey(name="cache", port=3, settings={"maxmemory": "1mb"}).launch(site).argv
    assert valkey[valkey.index("--bind") + 1] == "127.0.0.1"
    assert valkey[valkey.index("--maxmemory") + 1] == "1mb"
    with_secrets = replace(site, secrets={"p": "x"})
    postgres = Postgres(name="db", port=2, database="d", password_secret="p").launch(with_secrets)
    assert "listen_addresses=127.0.0.1" in postgres.argv
    assert "unix_socket_directories=" in postgres.argv


def test_data_that_kafka_did_not_write_is_left_alone(site: Site) -> None:
    kafka = Kafka(name="kafka", port=4, controller_port=5)
    data = site.data_dir("kafka")
    (data / "topic-0").mkdir(parents=True)
    with pytest.raises(LabError, match=r"holds files but no meta\.properties") as caught:
        kafka._format(site, data)
    assert "make week99 clean" in str(caught.value)
    assert (data / "topic-0").exists()
